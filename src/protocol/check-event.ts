import type { KtraceEvent } from '../event/types.ts';
import { KtraceError } from '../util/errors.ts';

/** Of events from outside: those that can be merged and rendered, and how many cannot. `error` is that of the first. */
export interface Checked {
  readable: KtraceEvent[];
  unreadable: number;
  error: KtraceError | undefined;
}

export function checkEvents(events: readonly unknown[]): Checked {
  const checked: Checked = { readable: [], unreadable: 0, error: undefined };
  for (const event of events) {
    const error = problemOf(event);
    if (error === undefined) checked.readable.push(event as KtraceEvent);
    else {
      checked.unreadable += 1;
      checked.error ??= error;
    }
  }
  return checked;
}

function problemOf(event: unknown): KtraceError | undefined {
  try {
    checkEvent(event as KtraceEvent);
    return undefined;
  } catch (error) {
    if (error instanceof KtraceError) return error;
    throw error;
  }
}

/** UTC with up to nanoseconds. Parsing it would cost more than all other checks of an event. */
const TIME = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?Z$/;

/**
 * Checks what merging and rendering walk into, and no more. It runs for every event, so it is plain conditions: a table of checks as that of messages
 * takes twice the time. Kinds that this version does not know pass. Throws KTRACE_E_PROTOCOL.
 */
function checkEvent(event: KtraceEvent): void {
  expect(isObject(event) && isText(event.kind), event);
  switch (event.kind) {
    case 'packet':
      expect(
        isTime(event.time) &&
          areTexts(event.id, event.proto, event.fingerprint, event.verdict, event.dir) &&
          isList(event.nodes, isText),
        event,
      );
      expect(isEndpoint(event.src) && isEndpoint(event.dst) && isList(event.hops, isHop) && isNumber(event.len), event);
      expect(isMissingOr(event.judged, isText) && isMissingOr(event.wantsBytes, isNumber), event);
      expect(
        isMissingOr(event.headers, (headers) => isList(headers, isText)),
        event,
      );
      expect(
        isMissingOr(event.nat, (nat) => isList(nat, isTranslation)),
        event,
      );
      expect(
        isMissingOr(
          event.icmp,
          (icmp) =>
            isObject(icmp) &&
            isText(icmp['name']) &&
            isMissingOr(icmp['about'], isQuoted) &&
            isMissingOr(icmp['by'], (by) => isObject(by) && isText(by['node']) && isMissingOr(by['if'], isText)),
        ),
        event,
      );
      expect(
        isMissingOr(event.tcp, (tcp) => isObject(tcp) && isText(tcp['flags'])),
        event,
      );
      expect(
        isMissingOr(event.drop, (drop) => isObject(drop) && areTexts(drop['reason'], drop['at'])),
        event,
      );
      expect(
        isMissingOr(event.vlan, (vlan) => isObject(vlan) && isNumber(vlan['id'])),
        event,
      );
      expect(
        isMissingOr(event.unanswered, (unanswered) => isObject(unanswered) && isNumber(unanswered['ms'])),
        event,
      );
      return;
    case 'flow':
      expect(isTime(event.startTime) && isTime(event.endTime), event);
      expect(areTexts(event.id, event.node, event.proto, event.state), event);
      expect(isEndpoint(event.src) && isEndpoint(event.dst) && isCounts(event.packets) && isCounts(event.bytes), event);
      expect(isMissingOr(event.judged, isText), event);
      expect(
        isMissingOr(event.nat, (nat) => isList(nat, isTranslation)),
        event,
      );
      return;
    case 'lost':
      expect(areTexts(event.node, event.stage) && isNumber(event.count) && isMissingOr(event.pod, isPod), event);
      return;
    case 'notice':
      expect(areTexts(event.level, event.code, event.text), event);
      expect(
        isMissingOr(event.interfaces, (names) => isList(names, isText)),
        event,
      );
      return;
  }
}

function expect(holds: boolean, event: KtraceEvent): void {
  if (holds) return;
  throw new KtraceError(
    'KTRACE_E_PROTOCOL',
    `Expected ${kindText(event)} with all its fields, got ${JSON.stringify(event).slice(0, 120)}`,
    {
      hint: 'Use the same version of ktrace on both sides.',
    },
  );
}

function kindText(event: unknown): string {
  return isObject(event) && isText(event['kind']) ? `a ${event['kind']} event` : 'an event';
}

function isEndpoint(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['ip']) &&
    isMissingOr(value['port'], isNumber) &&
    isMissingOr(value['pod'], isPod) &&
    isMissingOr(value['service'], (service) => isObject(service) && areTexts(service['namespace'], service['name']))
  );
}

function isPod(value: unknown): boolean {
  return isObject(value) && areTexts(value['namespace'], value['name']) && isMissingOr(value['gone'], isText);
}

function isHop(value: unknown): boolean {
  return isObject(value) && areTexts(value['node'], value['if'], value['dir']) && isNumber(value['atNs']);
}

function isTranslation(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['kind']) &&
    isEndpoint(value['before']) &&
    isEndpoint(value['after']) &&
    isMissingOr(value['chains'], (chains) => isList(chains, isText)) &&
    isMissingOr(value['hook'], isText)
  );
}

function isQuoted(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['proto']) &&
    isEndpoint(value['src']) &&
    isEndpoint(value['dst']) &&
    isMissingOr(value['nat'], (nat) => isList(nat, isTranslation))
  );
}

function isCounts(value: unknown): boolean {
  return isObject(value) && isNumber(value['request']) && isNumber(value['reply']);
}

function isList(value: unknown, check: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(check);
}

function isMissingOr(value: unknown, check: (value: unknown) => boolean): boolean {
  return value === undefined || check(value);
}

function areTexts(...values: unknown[]): boolean {
  return values.every(isText);
}

function isTime(value: unknown): boolean {
  return typeof value === 'string' && TIME.test(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
