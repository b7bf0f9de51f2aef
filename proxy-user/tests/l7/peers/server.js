// An HTTP server by Node's standard library: echoes bodies. Prints its port.
const http = require("http");
const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = parts.length ? Buffer.concat(parts) : Buffer.from("hello");
    if (request.url === "/204" || request.url === "/304") {
      response.writeHead(Number(request.url.slice(1))).end();
    } else if (request.url === "/chunked") {
      response.writeHead(200, { Trailer: "X-Sum" });
      response.write(body.subarray(0, 2));
      response.addTrailers({ "X-Sum": "42" });
      response.end(body.subarray(2));
    } else if (request.url === "/close") {
      response.writeHead(200, { Connection: "close" }).end(body);
    } else {
      response.writeHead(200, { "Content-Length": body.length }).end(body);
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
