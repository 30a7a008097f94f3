import { STREAM_PATH, SUBPROTOCOL } from '../../../../src/protocol/constants.ts';
import { flipped } from './hostile-frames.ts';
import type { Random } from './random.ts';

/** The head of the websocket's request as a client of ours says it, with other lines behind it. */
export function handshake(random: Random, ...more: string[]): string {
  return request('GET', STREAM_PATH, [...upgradeLines(random), ...more]);
}

function upgradeLines(random: Random): string[] {
  return [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${random.bytes(16).toString('base64')}`,
    `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
  ];
}

function request(method: string, target: string, lines: readonly string[], version = 'HTTP/1.1'): string {
  return [`${method} ${target} ${version}`, 'Host: a', ...lines, '', ''].join('\r\n');
}

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
  'PRI',
  'get',
  '',
  'G T',
] as const;
const TARGETS = [
  STREAM_PATH,
  '/healthz',
  '/readyz',
  '/metrics',
  '/',
  '*',
  '//metrics',
  '/metrics?x=1',
  '/v1/stream/../../metrics',
  '/%2e%2e/metrics',
  'http://a/metrics',
  'a:443',
  '/\u0000',
  `/${'a'.repeat(20_000)}`,
  '',
] as const;
const VERSIONS = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'HTTP/9.9', 'HTTP/1.1.1', 'ICY', ''] as const;
const LINES = [
  'Origin: https://example.com',
  'Host: b',
  'Content-Length: 5',
  'Content-Length: -1',
  'Content-Length: 5, 6',
  'Content-Length: 99999999999999999999',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding : chunked',
  'Transfer-Encoding: \u000bchunked',
  'Expect: 100-continue',
  'Upgrade: h2c',
  'Connection: close, Upgrade, keep-alive',
  'Sec-WebSocket-Version: 99',
  'Sec-WebSocket-Key: short',
  'Sec-WebSocket-Protocol: ktrace.v99',
  'Sec-WebSocket-Protocol: ,,,',
  'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=0',
  'Sec-WebSocket-Extensions: ;;;=',
  ' folded',
  'No colon',
  ': no name',
  'X\u0000Y: 1',
  `X: ${'a'.repeat(17_000)}`,
  'Range: bytes=0-',
] as const;

/** A request, or something instead of one, that a server answers or cuts off, but survives. */
export function hostileRequest(random: Random): Buffer {
  const lines = Array.from({ length: random.below(5) }, () => random.pick(LINES));
  const behind = request('GET', '/metrics', []);
  const text = random.pick<() => string>([
    () => request(random.pick(METHODS), random.pick(TARGETS), lines),
    () => request('GET', random.pick(TARGETS), lines, random.pick(VERSIONS)),
    () => handshake(random, ...lines),
    () =>
      request(
        'GET',
        STREAM_PATH,
        upgradeLines(random).filter(() => !random.once(4)),
      ),
    () => `${request('POST', '/healthz', ['Content-Length: 4', 'Transfer-Encoding: chunked'])}0\r\n\r\n${behind}`,
    () =>
      request('POST', STREAM_PATH, ['Transfer-Encoding: chunked']) +
      `${random.pick(['fffffffffffffffff', '-1', '5;x=y', 'zz'])}\r\nhello\r\n`,
    () => handshake(random, 'Content-Length: 30') + behind,
    () => behind.repeat(1 + random.below(20)),
    () =>
      request(
        'GET',
        '/healthz',
        Array.from({ length: 3000 }, (_, at) => `h${at}: 1`),
      ),
    () => handshake(random).replaceAll('\r\n', random.pick(['\n', '\r', '\r\r\n'])),
    () => handshake(random).slice(0, random.below(150)),
  ])();
  const bytes = Buffer.from(text, 'latin1');
  if (random.once(20)) return random.bytes(1 + random.below(400));
  return random.once(3) ? flipped(random, bytes) : bytes;
}
