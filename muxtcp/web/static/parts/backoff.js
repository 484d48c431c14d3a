/** Delays between attempts, in seconds: each strategy is a function that gives a fresh iterable. */

function jittered(ceilings, { jitter = 1, random = Math.random }) {
  if (!(jitter >= 0 && jitter <= 1)) throw new RangeError(`jitter is ${jitter}, not 0 to 1`);
  return function* () {
    for (const delay of ceilings()) yield delay * (1 - jitter * random());
  };
}

export function exponential(initial = 0.1, maximum = 10, options = {}) {
  const { factor = 2 } = options;
  if (!(initial >= 0 && maximum >= initial && factor >= 1)) {
    throw new RangeError(`initial ${initial}, maximum ${maximum}, factor ${factor}: 0 <= initial <= maximum, factor >= 1`);
  }
  return jittered(function* () {
    for (let delay = initial; ; delay = Math.min(delay * factor, maximum)) yield delay;
  }, options);
}

export const constant = (delay = 1, options = {}) => exponential(delay, delay, options);
