// driver.js - works with a client library until it is told to stop.
//
//   node driver.js LIBRARY MODE HOST:PORT[,HOST:PORT...]
//
// LIBRARY: ioredis, redis (5), redis4; MODE: cluster or plain. Prints "ready"
// after the first operations, goes on until a line comes on standard input, then
// prints one line of JSON: what worked, what did not, and the longest time
// between two operations that did.
"use strict";

const path = require("path");
const [library, mode, list] = process.argv.slice(2);
const modules = process.env.WDB_CLIENTS || path.join(__dirname, "../../build/clients");
const load = (name) => require(path.join(modules, "node_modules", name));
const nodes = list.split(",").map((text) => {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
});

// {set, get, multi, close} of a library.
async function openIoredis() {
  const { Redis, Cluster } = load("ioredis");
  const client = mode === "cluster"
    ? new Cluster(nodes, { clusterRetryStrategy: () => 50 })
    : new Redis({ ...nodes[0], retryStrategy: () => 50 });
  client.on("error", () => {});
  return {
    set: (k, v) => client.set(k, v),
    get: (k) => client.get(k),
    multi: async (k, v) => (await client.multi().set(k, v).get(k).exec())[1][1],
    close: () => client.disconnect(),
  };
}

async function openNodeRedis(name) {
  const { createClient, createCluster } = load(name);
  const socket = { reconnectStrategy: () => 50 };
  const client = mode === "cluster"
    ? createCluster({
      rootNodes: nodes.map((n) => ({ socket: { host: n.host, port: n.port } })),
      defaults: { socket },
    })
    : createClient({ socket: { ...socket, host: nodes[0].host, port: nodes[0].port } });
  client.on("error", () => {});
  await client.connect();
  return {
    set: (k, v) => client.set(k, v),
    get: (k) => client.get(k),
    multi: async (k, v) => (await client.multi().set(k, v).get(k).exec())[1],
    close: () => (client.destroy ? client.destroy() : client.disconnect()),
  };
}

async function main() {
  const client = library === "ioredis" ? await openIoredis() : await openNodeRedis(library);
  const result = { ok: 0, wrong: 0, errors: {}, error_count: 0, longest_gap_ms: 0 };
  let stopped = false;
  let last = Date.now();
  process.stdin.on("data", () => { stopped = true; });
  for (let n = 1; !stopped; n++) {
    const key = `${library}:${process.pid}:${n % 100}`;
    try {
      let found;
      if (n % 5 === 0) {
        found = await client.multi(key, String(n));
      } else {
        await client.set(key, String(n));
        found = await client.get(key);
      }
      if (found !== String(n)) {
        result.wrong++;
      }
      result.ok++;
      result.longest_gap_ms = Math.max(result.longest_gap_ms, Date.now() - last);
      last = Date.now();
      if (result.ok === 20) {
        console.log("ready");
      }
    } catch (error) {
      const text = String((error && error.message) || error).slice(0, 120);
      result.errors[text] = (result.errors[text] || 0) + 1;
      result.error_count++;
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  result.since_last_ms = Date.now() - last;
  console.log(JSON.stringify(result));
  client.close();
  setTimeout(() => process.exit(0), 100);
}

main().catch((error) => {
  console.log(JSON.stringify({ fatal: String((error && error.stack) || error) }));
  process.exit(1);
});
