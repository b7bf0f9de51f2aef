// Node's http client, and its WebSocket where it has one, at the address given.
const assert = require("assert");
const http = require("http");
const [host, port, websocket] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });

const ask = (method, path, body, chunked) =>
  new Promise((resolve, reject) => {
    const headers = body && !chunked ? { "Content-Length": body.length } : {};
    const request = http.request({ host, port, method, path, agent, headers }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode, body: Buffer.concat(parts), trailers: response.trailers })
      );
      response.on("error", reject);
    });
    request.on("error", reject);
    if (body && chunked) {
      request.write(body.subarray(0, 10));
      request.write(body.subarray(10));
    } else if (body) {
      request.write(body);
    }
    request.end();
  });

const main = async () => {
  const long = Buffer.alloc(200000, "y");
  const turns = Array.from({ length: 50 }, async () => {
    assert.equal((await ask("GET", "/")).body.toString(), "hello");
    assert.ok((await ask("POST", "/", long)).body.equals(long));
    assert.ok((await ask("POST", "/", long, true)).body.equals(long));
    const answer = await ask("GET", "/chunked");
    assert.equal(answer.body.toString(), "hello");
    assert.equal(answer.trailers["x-sum"], "42");
    assert.equal((await ask("HEAD", "/")).body.length, 0);
    assert.equal((await ask("GET", "/204")).status, 204);
    assert.equal((await ask("GET", "/304")).status, 304);
    assert.equal((await ask("GET", "/close")).body.toString(), "hello");
  });
  await Promise.all(turns);
  agent.destroy();
  if (websocket && globalThis.WebSocket) {
    await new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://${host}:${port}/ws`);
      const said = ["a", "b".repeat(300), "c".repeat(50000)];
      let heard = 0;
      socket.onopen = () => said.forEach((text) => socket.send(text));
      socket.onmessage = (event) => {
        assert.equal(event.data, said[heard++]);
        if (heard === said.length) socket.close(1000);
      };
      socket.onclose = (event) => (event.code === 1000 ? resolve() : reject(new Error(`closed: ${event.code}`)));
      socket.onerror = () => reject(new Error("the WebSocket failed"));
    });
  }
  console.log("fine");
};
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
