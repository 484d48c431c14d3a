/** Waiting that can be given up: because it takes too long, or because an AbortSignal says so. */

import { TimeoutError } from "./errors.js";

/**
 * Wait in a queue: `enter({resolve, reject})` stands one who waits in it, and returns how to take them out again. Whoever has
 * given up by their signal is not there any more when their turn comes.
 */
export function queued(signal, enter) {
  return new Promise((resolve, reject) => {
    if (!signal) return void enter({ resolve, reject });
    if (signal.aborted) return reject(signal.reason);
    let leave = () => {};
    const abort = () => {
      leave();
      reject(signal.reason);
    };
    const ended = (end) => (value) => {
      signal.removeEventListener("abort", abort);
      end(value);
    };
    signal.addEventListener("abort", abort);
    leave = enter({ resolve: ended(resolve), reject: ended(reject) });
  });
}

/** What the promise gives, if it does so within so many seconds, of which undefined are without end, and before the signal. */
export async function within(seconds, promise, what, signal) {
  if (seconds === undefined && !signal) return promise;
  let timer;
  let abort;
  const over = new Promise((_, reject) => {
    if (seconds !== undefined) {
      timer = setTimeout(() => reject(new TimeoutError(`${what} within ${seconds} s`)), seconds * 1000);
    }
    abort = () => reject(signal.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([over, promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
    promise.catch(() => {});
  }
}
