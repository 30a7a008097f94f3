import { createServer, Socket } from 'node:net';

/** Runs inside a network namespace (see `namespace-sockets.ts`): makes sockets there and hands them to its parent. */
process.on('message', (request: { id: number; type: 'listen' | 'connect'; host: string; port: number }) => {
  if (request.type === 'listen') listen(request.id, request.host, request.port);
  else connect(request.id, request.host, request.port);
});
process.on('disconnect', () => process.exit(0));

function listen(id: number, host: string, port: number): void {
  const server = createServer();
  server.once('error', (error) => process.send?.({ id, error: error.message }));
  server.listen({ host, port }, () => process.send?.({ id }, server, () => server.close()));
}

function connect(id: number, host: string, port: number): void {
  const socket = new Socket();
  // Nothing may be read here: what the peer says first belongs to whoever gets the socket.
  socket.pause();
  socket.once('error', (error) => process.send?.({ id, error: error.message }));
  socket.connect({ host, port }, () => {
    socket.removeAllListeners('error');
    process.send?.({ id }, socket);
  });
}
