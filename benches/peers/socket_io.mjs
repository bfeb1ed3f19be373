// socket.io, for start.sh: what is posted goes to every client. README.md has the reasons for the settings.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [, , modules, port] = process.argv;
const { Server } = createRequire(`${modules}/`)("socket.io");

const http = createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    io.emit("message", JSON.parse(Buffer.concat(parts)).message);
    response.setHeader("content-type", "application/json");
    response.end('{"success":true}');
  });
});
http.keepAliveTimeout = 0;
const io = new Server(http, { serveClient: false });
http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
