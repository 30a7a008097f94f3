import { CAPTURE } from '../event/layout.ts';
import type { Target } from '../event/target.ts';
import { isAddress } from '../util/address.ts';
import { KtraceError, messageOf } from '../util/errors.ts';
import {
  amount,
  amountOf,
  type Check,
  count,
  exactly,
  fields,
  flag,
  is,
  isObject,
  type JsonObject,
  listOf,
  named,
  oneOf,
  optional,
  tagged,
  text,
  textOf,
  type Wrong,
  wholeOf,
} from './check.ts';
import { MAX_AGENT_FRAME_BYTES, MAX_CLIENT_FRAME_BYTES } from './constants.ts';
import type { AgentMessage, ClientMessage } from './messages.ts';

/**
 * What a client said, taken strictly: unknown types and fields are refused.
 * @throws KtraceError KTRACE_E_PROTOCOL with what was expected and what came (never with a token's text).
 */
export function parseClientMessage(text: string): ClientMessage {
  const value = parseObject(text, MAX_CLIENT_FRAME_BYTES);
  const wrong = clientMessage(value);
  if (wrong !== undefined) throw notUnderstood(value, wrong);
  return { ...DEFAULTS[value['type'] as ClientMessage['type']]?.(), ...value } as ClientMessage;
}

const name = textOf(1, 253);
const unixMs = amountOf(0, 8_640_000_000_000_000);
const address = is('an IP address', (value) => typeof value === 'string' && isAddress(value));
const filter = optional(exactly({ text: textOf(1, 8192), revision: wholeOf(0, 0xffff_ffff) }));
const inNamespace = { namespace: name, name };
const targets = listOf(
  tagged('kind', {
    pod: inNamespace,
    deployment: inNamespace,
    replicaset: inNamespace,
    statefulset: inNamespace,
    daemonset: inNamespace,
    job: inNamespace,
    cronjob: inNamespace,
    service: inNamespace,
    node: { name },
    namespace: { name },
    selector: { namespace: optional(name), selector: textOf(1, 1024) },
    all: {},
  } satisfies Record<Target['kind'], Record<string, Check>>),
  1,
  256,
);
const MOST_LISTED = 65_536;

const clientMessage = tagged('type', {
  auth: { token: textOf(0, 16_384) },
  doctor: {},
  subscribe: {
    targets,
    addresses: optional(listOf(address, 0, MOST_LISTED)),
    units: optional(oneOf('flows', 'packets')),
    headers: optional(oneOf(true)),
    filter,
    snapBytes: optional(wholeOf(1, CAPTURE.most)),
    data: optional(oneOf(true)),
    resume: optional(exactly({ instance: textOf(0, 64), session: textOf(0, 64), seq: count })),
  },
  recorded: { targets, services: optional(exactly({ sinceMs: unixMs, untilMs: unixMs })) },
  dump: {
    targets,
    owners: optional(listOf(exactly({ ip: address, uid: name, fromMs: unixMs, toMs: optional(unixMs) }), 0, MOST_LISTED)),
    sinceMs: unixMs,
    untilMs: unixMs,
    filter,
    incident: optional(textOf(1, 64)),
    after: optional(textOf(0, 256)),
  },
  credit: { events: wholeOf(0, 1_000_000), ack: optional(count) },
} satisfies Record<ClientMessage['type'], Record<string, Check>>);

/** What a client need not say; made anew for each message, whose lists are its own. */
const DEFAULTS: Partial<Record<ClientMessage['type'], () => object>> = {
  subscribe: () => ({ addresses: [], units: 'flows' }),
  dump: () => ({ owners: [] }),
};

/**
 * What an agent said, taken lightly, for the client: the shape that the client walks is checked, fields it does not know are
 * left in place, events are objects with a `kind` and nothing more is known of them. Undefined for a message type that
 * only a newer agent knows.
 * @throws KtraceError KTRACE_E_PROTOCOL
 */
export function parseAgentMessage(text: string): AgentMessage | undefined {
  const value = parseObject(text, MAX_AGENT_FRAME_BYTES);
  const type = value['type'];
  if (typeof type !== 'string') throw unexpected('a message with a type', 'type', type);
  const shape = Object.hasOwn(AGENT_SHAPES, type) ? AGENT_SHAPES[type as AgentMessage['type']] : undefined;
  if (!shape) return undefined;
  for (const [field, check] of Object.entries(shape)) {
    const wrong = check(value[field]);
    if (wrong !== undefined) throw unexpected(wrong.expected, `${type}.${field}`, value[field]);
  }
  return value as unknown as AgentMessage;
}

function parseObject(text: string, maxBytes: number): JsonObject {
  if (text.length > maxBytes) throw protocolError(`Expected a message of at most ${maxBytes} bytes, got ${text.length}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    // V8's message quotes the text, which may hold a token: it stays in the cause, which is not sent and not logged.
    throw new KtraceError('KTRACE_E_PROTOCOL', 'Expected a JSON text frame, got text that is not JSON', {
      cause: new SyntaxError(messageOf(cause).replace(/["'].*$/s, '…')),
    });
  }
  if (!isObject(value)) throw unexpected('a JSON object', 'a message', value);
  return value;
}

function notUnderstood(message: JsonObject, { expected, path }: Wrong): KtraceError {
  const got = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], message);
  const where = [typeof message['type'] === 'string' ? shown(message['type']) : 'a message', ...path.map(shownKey)].join(' ');
  return protocolError(`Expected ${expected} for ${where}, got ${path[0] === 'token' ? typeof got : shown(got)}`);
}

/** A key from outside, unless it is one of ours. */
function shownKey(key: string | number): string {
  return /^[a-zA-Z]{1,20}$/.test(String(key)) ? String(key) : shown(key);
}

function unexpected(expected: string, name: string, got: unknown): KtraceError {
  return protocolError(`Expected ${expected} for ${name}, got ${shown(got)}`);
}

function protocolError(message: string): KtraceError {
  return new KtraceError('KTRACE_E_PROTOCOL', message, {
    hint: 'Use the same version of ktrace on both sides.',
  });
}

/** At most 60 characters of a value, in JSON, so that what came from outside cannot forge a line. Objects only by their kind. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (isObject(value)) return 'an object';
  if (typeof value === 'string' && value.length > 60) return `${JSON.stringify(value.slice(0, 60))}…`;
  return JSON.stringify(value) ?? 'nothing';
}

const nanoseconds = is('nanoseconds in decimal', (value) => typeof value === 'string' && /^\d{1,20}$/.test(value));
const texts = listOf(text);
const identity = { namespace: text, name: text, uid: text };
const resolved = named(
  'resolved pods and addresses',
  fields({
    addresses: texts,
    pods: listOf(fields({ ...identity, node: text, hostNetwork: optional(flag), ips: texts })),
    unresolved: optional(listOf(count)),
  }),
);
const ports = listOf(fields({ name: text, proto: text }));
const recordedService = fields({
  namespace: text,
  name: text,
  states: listOf(fields({ fromMs: amount, ports, ips: texts })),
  endpoints: listOf(fields({ fromMs: amount, ports, ip: text, pod: optional(fields(identity)) })),
});
const incident = fields({
  id: text,
  atMs: amount,
  fromMs: amount,
  toMs: amount,
  records: amount,
  cut: amount,
  isWhole: flag,
  pod: fields(identity),
  causes: listOf(fields({ kind: text, text })),
});
const damages = named('an array of damages', listOf(fields({ name: text, at: amount, bytes: amount })));
/** As far as it is walked when it is printed. */
const report = named(
  'a report of a node',
  fields({
    node: text,
    version: text,
    works: flag,
    reason: optional(text),
    kernel: fields({ release: text, arch: text }),
    capabilities: listOf(fields({ name: text, for: text })),
    hooks: listOf(fields({ name: text, backend: text, state: text, reason: optional(text) })),
    interfaces: listOf(fields({ name: text, kind: text })),
    lacks: listOf(fields({ what: text, why: text, remedy: text })),
  }),
);

/** Each is checked by itself: one that cannot be read must not cost the others of its message. */
const events = named(
  'an array of events',
  listOf(() => undefined),
);

const AGENT_SHAPES: Record<AgentMessage['type'], Record<string, Check>> = {
  hello: { node: text, instance: text, version: text, clock: nanoseconds },
  subscribed: { session: text, resumed: flag, missed: count, resolved },
  resolved: { resolved },
  events: { seq: count, events },
  undecided: { packets: count, wantsBytes: count },
  doctor: { report },
  recorded: {
    fromMs: amount,
    toMs: amount,
    pods: named('an array of recorded pods', listOf(fields({ ...identity, fromMs: amount, ips: texts }))),
    known: named('an array of names', texts),
    gaps: named('an array of gaps', listOf(fields({ fromMs: amount, toMs: amount }))),
    damaged: damages,
    vxlanPort: optional(count),
    deleted: optional(named('times in milliseconds', fields({ share: optional(amount), excess: optional(amount) }))),
    incidents: optional(named('an array of incidents', listOf(incident))),
    services: optional(named('an array of recorded Services', listOf(recordedService))),
    servicesCut: optional(count),
  },
  records: { after: text, events },
  dumped: {
    told: count,
    filtered: count,
    undecided: optional(count),
    wantsBytes: optional(count),
    damaged: damages,
  },
  clock: { clock: nanoseconds },
  error: { code: text, message: text },
  bye: { reason: text },
};
