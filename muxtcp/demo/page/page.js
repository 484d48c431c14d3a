/** The demo's page: what the server sends on nine channels, and what becomes of them when the connection or the server goes. */

import { connect, exponential } from "./muxtcp/muxtcp.js";
import { Card, number, perSecond, size } from "./card.js";

const RESUME = 30; // seconds that a session may be without a connection
const LOOK = 250; // ms between two looks at the numbers
const SHOWN = 3_000; // ms for which "resumed" stays
const PRIORITIES = ["urgent", "high", "normal", "bulk"];
const WORDS = {
  disconnected: "Disconnected", connecting: "Connecting", connected: "Connected", waiting: "Disconnected",
  reconnecting: "Reconnecting", resumed: "Resumed", lost: "Lost", failed: "Failed", stopped: "Stopped",
};
const WHY = {
  WRONG_INCARNATION: "the server was started anew", EXPIRED: "it was away for too long", UNKNOWN: "the server does not know it",
};

const byId = (id) => document.getElementById(id);
const cards = new Map();
const totals = { sessions: 0, resumed: 0 };
let current = null;

const connector = connect("mux", { resume: RESUME, backoff: exponential(0.1, 1), config: { keepalive: 5, keepaliveTimeout: 5 } });

// --- the channels -----------------------------------------------------------------------------------------------------

async function follow() {
  for await (const session of connector) {
    current = session;
    totals.sessions += 1;
    const stop = watchLatency(session);
    try {
      const feeds = await session.request("feeds", null, { codec: "json" });
      await Promise.all(feeds.map((feed) => read(session, feed)));
    } catch (error) {
      if (error !== session.error) note(`${error.name}: ${error.message}`);
    } finally {
      stop();
    }
  }
}

async function read(session, { name, priority }) {
  if (!cards.has(name)) {
    cards.set(name, new Card(name, PRIORITIES[priority]));
    byId("cards").append(cards.get(name).element);
  }
  const card = cards.get(name);
  card.begin();
  const channel = await session.open(name, { mode: "r", priority: PRIORITIES[priority] });
  for await (const message of channel) {
    const view = new DataView(message.buffer, message.byteOffset);
    card.add(Number(view.getBigUint64(0)), view.getFloat64(16), message.length);
    await card.breath(); // what is not read here is not sent there
  }
}

/** Ask for the round-trip time every second; gives what ends that. */
function watchLatency(session) {
  const timer = setInterval(async () => {
    const seconds = await session.ping().catch(() => NaN); // the session may end meanwhile
    cards.get("heartbeat")?.latency(seconds);
  }, 1_000);
  return () => clearInterval(timer);
}

// --- the connection ---------------------------------------------------------------------------------------------------

let shown;
connector.addEventListener("state", (event) => {
  const { state } = event;
  if (state === "resumed") totals.resumed += 1;
  clearTimeout(shown);
  if (state === "resumed") shown = setTimeout(() => show("connected", ""), SHOWN);
  show(state, detailOf(event));
  if (!["connecting", "waiting"].includes(state)) note(`${WORDS[state]} ${detailOf(event)}`.trim());
});

function detailOf({ state, delay, cause, gap, replayed }) {
  if (state === "waiting") return `trying again in ${delay.toFixed(1)} s`;
  if (state === "resumed") return `after ${(gap * 1000).toFixed(0)} ms, ${replayed} frames sent again`;
  if (state === "connected") return totals.sessions ? "with a new session" : "";
  if (state === "reconnecting") return `disconnected: ${cause}`;
  return WHY[cause?.why] ?? cause?.message ?? "";
}

function show(state, detail) {
  document.body.dataset.state = state;
  byId("word").textContent = WORDS[state];
  byId("detail").textContent = detail;
  byId("cut").disabled = byId("kill").disabled = !["connected", "resumed"].includes(state);
}

function note(text) {
  const line = document.createElement("li");
  line.textContent = `${new Date().toLocaleTimeString()} ${text}`;
  byId("log").prepend(line);
  while (byId("log").children.length > 12) byId("log").lastChild.remove();
}

byId("cut").addEventListener("click", () => current?.cut());
byId("kill").addEventListener("click", () => current?.request("control", "kill", { codec: "json" }).catch(() => {}));
byId("now").addEventListener("click", () => connector.reconnectNow());

// --- the numbers ------------------------------------------------------------------------------------------------------

setInterval(() => {
  const sum = { messages: 0, gaps: 0, doubled: 0, perSecond: 0, bytesPerSecond: 0 };
  for (const card of cards.values()) {
    card.look(LOOK / 1000);
    for (const name of Object.keys(sum)) sum[name] += card[name];
  }
  for (const name of ["messages", "gaps", "doubled"]) byId(name).textContent = number(sum[name]);
  for (const name of ["sessions", "resumed"]) byId(name).textContent = number(totals[name]);
  byId("gaps").classList.toggle("wrong", sum.gaps > 0);
  byId("doubled").classList.toggle("wrong", sum.doubled > 0);
  byId("rate").textContent = `${perSecond(sum.perSecond)}/s`;
  byId("throughput").textContent = `${size(sum.bytesPerSecond)}/s`;
  byId("rtt").textContent = current?.rtt ? `${(current.rtt * 1000).toFixed(1)} ms` : "–";
}, LOOK);

follow();
