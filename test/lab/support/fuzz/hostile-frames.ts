import type { Random } from './random.ts';

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

interface FrameOptions {
  opcode: number;
  payload?: Uint8Array | string;
  isFinal?: boolean;
  /** RSV1 to RSV3 as the byte's bits. */
  reserved?: number;
  isMasked?: boolean;
  /** How the length is written, whatever it is. */
  lengthBytes?: 0 | 2 | 8;
  /** What is said to follow, instead of what does. */
  claimed?: bigint;
}

/** A websocket frame (RFC 6455 section 5.2), as right or wrong as it is asked for. */
export function frame(random: Random, options: FrameOptions): Buffer {
  const { opcode, isFinal = true, reserved = 0, isMasked = true } = options;
  const payload = Buffer.from(options.payload ?? '');
  const claimed = options.claimed ?? BigInt(payload.length);
  const lengthBytes = options.lengthBytes ?? (claimed < 126n ? 0 : claimed < 65536n ? 2 : 8);
  const head = Buffer.alloc(2 + lengthBytes);
  head[0] = (isFinal ? 0x80 : 0) | reserved | opcode;
  head[1] = (isMasked ? 0x80 : 0) | (lengthBytes === 0 ? Number(claimed & 0x7fn) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) head.writeUInt16BE(Number(claimed & 0xffffn), 2);
  if (lengthBytes === 8) head.writeBigUInt64BE(claimed, 2);
  if (!isMasked) return Buffer.concat([head, payload]);
  const mask = random.bytes(4);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0))]);
}

/** Frames that a server has to take, though no client of ours sends them so. */
export function oddFrames(random: Random): Buffer[] {
  const text = JSON.stringify(oddMessage(random));
  const make = random.pick<() => Buffer[]>([
    () => [frame(random, { opcode: OPCODE.text, payload: text })],
    () => [frame(random, { opcode: OPCODE.ping, payload: random.bytes(random.below(126)) })],
    () => [frame(random, { opcode: OPCODE.pong, payload: random.bytes(random.below(126)) })],
    () => [frame(random, { opcode: OPCODE.text, payload: text, lengthBytes: 8 })],
    () => inPieces(random, text),
  ]);
  return make();
}

/** What a subscribed client may say at any time. */
function oddMessage(random: Random): object {
  return random.pick<() => object>([
    () => ({ type: 'credit', events: random.below(3) }),
    () => ({ type: 'credit', events: 0, ack: random.below(2 ** 31) }),
    () => ({ type: 'credit', ack: 0, events: random.below(2) }),
  ])();
}

/** A message in fragments, empty ones and control frames between them. */
function inPieces(random: Random, text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const cuts = Array.from({ length: random.below(6) }, () => random.below(bytes.length)).sort((a, b) => a - b);
  const edges = [0, ...cuts, bytes.length];
  return edges.slice(1).flatMap((end, index) => {
    const opcode = index === 0 ? OPCODE.text : OPCODE.continuation;
    const piece = frame(random, {
      opcode,
      payload: bytes.subarray(edges[index], end),
      isFinal: index === edges.length - 2,
    });
    return random.once(3) ? [piece, ...(index < edges.length - 2 ? [frame(random, { opcode: OPCODE.ping })] : [])] : [piece];
  });
}

const BAD_CLOSE_CODES = [0, 1, 999, 1004, 1005, 1006, 1012, 1015, 1016, 2999, 5000, 65535] as const;

/** Frames that end a connection, or should. */
export function hostileFrames(random: Random): Buffer[] {
  const { text, binary, close, continuation, ping } = OPCODE;
  const junk = () => random.bytes(random.below(64));
  const one = (options: FrameOptions) => [frame(random, options)];
  return random.pick<() => Buffer[]>([
    () => one({ opcode: text, reserved: random.pick([0x10, 0x20, 0x40, 0x70]), payload: '{}' }),
    () => one({ opcode: random.pick([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), payload: junk() }),
    () => one({ opcode: text, isMasked: false, payload: '{"type":"credit","events":1}' }),
    () => one({ opcode: random.pick([close, ping, OPCODE.pong]), payload: random.bytes(126 + random.below(300)) }),
    () => one({ opcode: ping, isFinal: false, payload: junk() }),
    () => one({ opcode: continuation, payload: junk() }),
    () => [
      frame(random, { opcode: text, isFinal: false, payload: '{"type":' }),
      frame(random, { opcode: text, payload: '"credit"}' }),
    ],
    () => one({ opcode: text, payload: '{}', claimed: 1n << 63n, lengthBytes: 8 }),
    () => one({ opcode: text, payload: junk(), claimed: BigInt(4 * 1024 * 1024 + 1 + random.below(1 << 30)) }),
    () => one({ opcode: text, payload: junk(), claimed: BigInt(1000 + random.below(60_000)) }),
    () => one({ opcode: binary, payload: junk() }),
    () =>
      one({
        opcode: text,
        payload: random.pick([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf8, 0x88]].map(bytesOf) as [Buffer]),
      }),
    () => one({ opcode: close, payload: Buffer.from([random.below(256)]) }),
    () => one({ opcode: close, payload: closePayload(random.pick(BAD_CLOSE_CODES)) }),
    () => one({ opcode: close, payload: Buffer.concat([closePayload(1000), Buffer.from([0xff, 0xfe])]) }),
    () =>
      Array.from({ length: random.once(10) ? 1100 : 3 }, (_, at) =>
        frame(random, { opcode: at === 0 ? text : continuation, isFinal: false }),
      ),
    () => [random.bytes(2 + random.below(200))],
    () => one({ opcode: text, payload: hostileText(random) }),
    () => one({ opcode: text, payload: hostileText(random) }),
    () => one({ opcode: text, payload: hostileText(random) }),
  ])();
}

function bytesOf(bytes: readonly number[]): Buffer {
  return Buffer.from(bytes);
}

function closePayload(code: number): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return payload;
}

const HOSTILE_VALUES: readonly [unknown, ...unknown[]] = [
  null,
  true,
  -1,
  0.5,
  2 ** 53,
  1e308,
  '',
  '\ud800',
  '\u0000',
  '../../etc/passwd',
  'a'.repeat(70_000),
  [],
  {},
  [[]],
  { toString: 1 },
  Array.from({ length: 300 }, () => ({ kind: 'all' })),
];

/** A message that was right before something was done to it. */
function hostileText(random: Random): string | Buffer {
  const message = validMessage(random);
  const keys = Object.keys(message) as [string, ...string[]];
  return random.pick<() => string | Buffer>([
    () => JSON.stringify({ ...message, [random.pick(keys)]: random.pick(HOSTILE_VALUES) }),
    () => JSON.stringify({ ...message, [random.pick(['x', 'constructor', 'length'])]: random.pick(HOSTILE_VALUES) }),
    () => JSON.stringify(message).replace('{', '{"__proto__":{"type":"auth"},'),
    () => JSON.stringify(message).slice(0, 1 + random.below(20)),
    () => `${'['.repeat(50_000)}`,
    () => `{"type":"subscribe","targets":${'{"kind":'.repeat(2000)}`,
    () => JSON.stringify(random.pick(HOSTILE_VALUES)) ?? '',
    () => flipped(random, Buffer.from(JSON.stringify(message))),
  ])();
}

/** A message that the agent understands. */
export function validMessage(random: Random): Record<string, unknown> {
  return random.pick<Record<string, unknown>>([
    { type: 'auth', token: random.bytes(24).toString('base64url') },
    { type: 'credit', events: random.below(100), ack: 0 },
    { type: 'subscribe', targets: [{ kind: 'pod', namespace: 'default', name: 'nobody' }], addresses: ['10.244.9.9'] },
    { type: 'subscribe', targets: [{ kind: 'selector', selector: 'app in (a, b)' }], units: 'packets' },
    { type: 'subscribe', targets: [{ kind: 'all' }], resume: { instance: 'x', session: 'y', seq: 3 } },
  ]);
}

/** With a few bits turned. */
export function flipped(random: Random, bytes: Buffer): Buffer {
  for (let left = 1 + random.below(4); left > 0 && bytes.length > 0; left -= 1) {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
  }
  return bytes;
}
