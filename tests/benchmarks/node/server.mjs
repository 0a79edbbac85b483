// Socket.IO with connection state recovery, as its documentation sets it up. PORT and perhaps REDIS_URL come from the
// environment. A client names the room it wants, publishes to a room, and asks for an answer.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer((request, response) => response.end("ready"));
const options = {
  transports: ["polling", "websocket"],
  serveClient: false,
  perMessageDeflate: false,
  maxHttpBufferSize: 1e6,
  connectionStateRecovery: { maxDisconnectionDuration: 120_000 },
};
if (process.env.REDIS_URL) {
  const { createClient } = await import("redis");
  const { createAdapter } = await import("@socket.io/redis-streams-adapter");
  const client = createClient({ url: process.env.REDIS_URL });
  await client.connect();
  // The stream must hold what a storm missed; by default it is cut at about 10,000 entries.
  options.adapter = createAdapter(client, { maxLen: 1_000_000 });
}
const io = new Server(http, options);
io.on("connection", (socket) => {
  socket.on("join", (room, answer) => {
    socket.join(room);
    answer();
  });
  socket.on("say", (room, data, answer) => {
    io.to(room).emit("said", data);
    answer?.();
  });
  socket.on("ask", (number, answer) => answer(number));
});
http.listen(Number(process.env.PORT), "127.0.0.1", 4096);
