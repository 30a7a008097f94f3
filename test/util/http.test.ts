import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cutSlowHeads, headLimits } from '../../src/util/http.ts';

const HEAD_MS = 50;

test('who is slow with a request’s head is told so and cut, and nobody whose request has arrived', async (t) => {
  const server = createServer(headLimits(HEAD_MS), async (request, response) => {
    arrived(request.socket);
    await delay(5 * HEAD_MS);
    response.setHeader('Connection', 'close').end('late');
  });
  const arrived = cutSlowHeads(server, HEAD_MS);
  server.on('upgrade', (request, socket) => {
    arrived(request.socket);
    socket.pipe(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const sockets: Socket[] = [];
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const open = (said: string): Socket => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('utf8');
    sockets.push(socket);
    socket.write(said);
    return socket;
  };
  const answerTo = async (said: string): Promise<string> => {
    let answer = '';
    const socket = open(said).on('data', (text: string) => {
      answer += text;
    });
    await once(socket, 'close');
    return answer;
  };
  const upgraded = open('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  const [silent, half, whole] = await Promise.all(['', 'GET / HT', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'].map(answerTo));
  for (const answer of [silent, half]) assert.equal(answer, 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n');
  assert.match(whole ?? '', /^HTTP\/1\.1 200 OK\r\n[\s\S]*late/);
  upgraded.write('still here');
  assert.deepEqual(await once(upgraded, 'data'), ['still here']);
});
