import type { z } from 'zod';
import { KtraceError, messageOf } from '../util/errors.ts';
import { MAX_AGENT_FRAME_BYTES, MAX_CLIENT_FRAME_BYTES } from './constants.ts';
import { type AgentMessage, type ClientMessage, clientMessageSchema } from './messages.ts';

/**
 * What a client said, taken strictly: unknown types and fields are refused.
 * @throws KtraceError KTRACE_E_PROTOCOL with what was expected and what came (never with a token's text).
 */
export function parseClientMessage(text: string): ClientMessage {
  const value = parseObject(text, MAX_CLIENT_FRAME_BYTES);
  const result = clientMessageSchema.safeParse(value);
  if (result.success) return result.data;
  throw notUnderstood(value, result.error.issues[0]);
}

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
    if (!check.holds(value[field])) throw unexpected(check.expected, `${type}.${field}`, value[field]);
  }
  return value as unknown as AgentMessage;
}

type JsonObject = Record<string, unknown>;

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

function notUnderstood(message: JsonObject, issue: z.core.$ZodIssue | undefined): KtraceError {
  const path = issue?.path ?? [];
  const got = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], message);
  const where = [typeof message['type'] === 'string' ? shown(message['type']) : 'a message', ...path.map(String)].join(' ');
  const said = (issue?.message ?? 'Invalid input').replace(/, received .*$/, '');
  return protocolError(`${said} for ${where}, got ${path[0] === 'token' ? typeof got : shown(got)}`);
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

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

interface Check {
  expected: string;
  holds(value: unknown): boolean;
}

const text: Check = { expected: 'a string', holds: (value) => typeof value === 'string' };
const flag: Check = { expected: 'true or false', holds: (value) => typeof value === 'boolean' };
const nanoseconds: Check = {
  expected: 'nanoseconds in decimal',
  holds: (value) => typeof value === 'string' && /^\d{1,20}$/.test(value),
};
const count: Check = {
  expected: 'a whole number',
  holds: (value) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0,
};
const amount: Check = { expected: 'a number', holds: (value) => typeof value === 'number' };
const listOf = (what: string, isItem: (item: unknown) => boolean): Check => ({
  expected: `an array of ${what}`,
  holds: (value) => Array.isArray(value) && value.every(isItem),
});
const optional = ({ expected, holds }: Check): Check => ({
  expected,
  holds: (value) => value === undefined || holds(value),
});
const deleted: Check = {
  expected: 'times in milliseconds',
  holds: (value) =>
    isObject(value) && [value['share'], value['excess']].every((time) => time === undefined || amount.holds(time)),
};
const resolved: Check = {
  expected: 'resolved pods and addresses',
  holds: (value) =>
    isObject(value) &&
    Array.isArray(value['addresses']) &&
    value['addresses'].every((ip) => typeof ip === 'string') &&
    Array.isArray(value['pods']) &&
    value['pods'].every(isResolvedPod) &&
    optional(listOf('whole numbers', count.holds)).holds(value['unresolved']),
};

function isResolvedPod(pod: unknown): boolean {
  return (
    isObject(pod) &&
    ['namespace', 'name', 'uid', 'node'].every((field) => typeof pod[field] === 'string') &&
    (pod['hostNetwork'] === undefined || typeof pod['hostNetwork'] === 'boolean') &&
    Array.isArray(pod['ips']) &&
    pod['ips'].every((ip) => typeof ip === 'string')
  );
}

function isRecordedPod(pod: unknown): boolean {
  return (
    isObject(pod) &&
    areTexts(pod, 'namespace', 'name', 'uid') &&
    areNumbers(pod, 'fromMs') &&
    Array.isArray(pod['ips']) &&
    pod['ips'].every((ip) => typeof ip === 'string')
  );
}

function isDamage(value: unknown): boolean {
  return isObject(value) && areTexts(value, 'name') && areNumbers(value, 'at', 'bytes');
}

function isIncident(value: unknown): boolean {
  return (
    isObject(value) &&
    areTexts(value, 'id') &&
    areNumbers(value, 'atMs', 'fromMs', 'toMs', 'records', 'cut') &&
    typeof value['isWhole'] === 'boolean' &&
    isObject(value['pod']) &&
    areTexts(value['pod'], 'namespace', 'name', 'uid') &&
    isListOf(value['causes'], 'kind', 'text')
  );
}

function isRecordedService(value: unknown): boolean {
  const hasIntervals = (list: unknown, isItem: (item: JsonObject) => boolean): boolean =>
    Array.isArray(list) &&
    list.every(
      (item) => isObject(item) && areNumbers(item, 'fromMs') && isListOf(item['ports'], 'name', 'proto') && isItem(item),
    );
  return (
    isObject(value) &&
    areTexts(value, 'namespace', 'name') &&
    hasIntervals(value['states'], ({ ips }) => Array.isArray(ips) && ips.every((ip) => typeof ip === 'string')) &&
    hasIntervals(
      value['endpoints'],
      ({ ip, pod }) =>
        typeof ip === 'string' && (pod === undefined || (isObject(pod) && areTexts(pod, 'namespace', 'name', 'uid'))),
    )
  );
}

const report: Check = { expected: 'a report of a node', holds: isNodeReport };

/** As far as it is walked when it is printed. */
function isNodeReport(value: unknown): boolean {
  if (!isObject(value) || !areTexts(value, 'node', 'version') || typeof value['works'] !== 'boolean') return false;
  const { kernel, reason } = value;
  return (
    isObject(kernel) &&
    areTexts(kernel, 'release', 'arch') &&
    (reason === undefined || typeof reason === 'string') &&
    isListOf(value['capabilities'], 'name', 'for') &&
    isListOf(value['hooks'], 'name', 'backend', 'state') &&
    (value['hooks'] as JsonObject[]).every((hook) => hook['reason'] === undefined || typeof hook['reason'] === 'string') &&
    isListOf(value['interfaces'], 'name', 'kind') &&
    isListOf(value['lacks'], 'what', 'why', 'remedy')
  );
}

function isListOf(value: unknown, ...fields: string[]): boolean {
  return Array.isArray(value) && value.every((item) => isObject(item) && areTexts(item, ...fields));
}

function areTexts(object: JsonObject, ...fields: string[]): boolean {
  return fields.every((field) => typeof object[field] === 'string');
}

function areNumbers(object: JsonObject, ...fields: string[]): boolean {
  return fields.every((field) => typeof object[field] === 'number');
}

/** Each is checked by itself: one that cannot be read must not cost the others of its message. */
const events = listOf('events', () => true);

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
    pods: listOf('recorded pods', isRecordedPod),
    known: listOf('names', (item) => typeof item === 'string'),
    gaps: listOf('gaps', (item) => isObject(item) && areNumbers(item, 'fromMs', 'toMs')),
    damaged: listOf('damages', isDamage),
    vxlanPort: optional(count),
    deleted: optional(deleted),
    incidents: optional(listOf('incidents', isIncident)),
    services: optional(listOf('recorded Services', isRecordedService)),
    servicesCut: optional(count),
  },
  records: { after: text, events },
  dumped: {
    told: count,
    filtered: count,
    undecided: optional(count),
    wantsBytes: optional(count),
    damaged: listOf('damages', isDamage),
  },
  clock: { clock: nanoseconds },
  error: { code: text, message: text },
  bye: { reason: text },
};
