import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { answer, type Zone } from './dns-message.ts';

/** The cluster's DNS: `dns.ts ZONE.json`, answering A and AAAA on port 53, UDP and TCP, IPv4 and IPv6. */
const zone = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Zone;

const udp = createSocket({ type: 'udp6', ipv6Only: false });
udp.on('message', (query, peer) => {
  const reply = answer(query, zone);
  if (reply !== undefined) udp.send(reply, peer.port, peer.address);
});
udp.bind(53, '::');

createServer((socket) => serveTcp(socket)).listen(53, '::');

/** Over TCP each message has its length in front, two bytes (RFC 1035, 4.2.2). */
function serveTcp(socket: Socket): void {
  let pending = Buffer.alloc(0);
  socket.on('error', () => socket.destroy());
  socket.on('data', (data: Buffer) => {
    pending = Buffer.concat([pending, data]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0);
      const reply = answer(pending.subarray(2, end), zone);
      pending = pending.subarray(end);
      if (reply === undefined) continue;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    }
  });
}
