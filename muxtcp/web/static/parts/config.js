/** Limits and deadlines; what each means is said in muxtcp.d.ts. */

const COUNTS = [1, 2 ** 31];
const BYTES = [1_024, 2 ** 40];
const SECONDS = [0, 86_400];

/** As it is unless given, and the range. */
const CONFIG = {
  maxFrame: [65_536, 16_384, 16_777_216],
  maxMessage: [1_048_576, ...BYTES],
  maxChannels: [1_024, ...COUNTS],
  channelWindow: [262_144, ...BYTES],
  sessionWindow: [262_144, ...BYTES],
  memoryLimit: [16_777_216, ...BYTES],
  sendBuffer: [1_048_576, ...BYTES],
  replayLimit: [4_194_304, 262_144, 2 ** 40],
  keepalive: [10, ...SECONDS],
  keepaliveTimeout: [10, ...SECONDS],
  handshakeTimeout: [5, ...SECONDS],
};

/** The options with a whole config; a RangeError that lists everything that is out of range. */
export function configured({ config: given = {}, ...options }) {
  const findings = Object.keys(given).filter((name) => !Object.hasOwn(CONFIG, name)).map((name) => `config has no ${name}`);
  const config = {};
  const look = (name, value, least, most) => {
    if (!(value >= least && value <= most)) findings.push(`${name} is ${value}, not ${least} to ${most}`);
    return value;
  };
  for (const [name, [usual, ...range]] of Object.entries(CONFIG)) config[name] = look(name, given[name] ?? usual, ...range);
  const { resume, psk } = options;
  if (resume !== undefined) look("resume", resume, 0.001, 86_400);
  if (psk !== undefined && psk.length < 16) findings.push(`psk has ${psk.length} bytes, not 16 or more`);
  if (psk !== undefined && resume === undefined) findings.push("psk goes with resume");
  if (findings.length) throw new RangeError(findings.join("; "));
  return { ...options, config };
}
