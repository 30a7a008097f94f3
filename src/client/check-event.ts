import type { KtraceEvent } from '../event/types.ts';
import { KtraceError } from '../util/errors.ts';

/**
 * Checks what merging and rendering walk into, and no more: it runs for every event. Kinds that this version does not know pass.
 * Throws KTRACE_E_PROTOCOL.
 */
export function checkEvent(event: KtraceEvent): void {
  switch (event.kind) {
    case 'packet':
      expect(
        areTexts(event.id, event.time, event.proto, event.fingerprint, event.verdict, event.dir) && isList(event.nodes, isText),
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
      expect(areTexts(event.id, event.node, event.proto, event.state, event.startTime, event.endTime), event);
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
      return;
  }
}

function expect(holds: boolean, event: KtraceEvent): void {
  if (holds) return;
  throw new KtraceError(
    'KTRACE_E_PROTOCOL',
    `Expected a ${event.kind} event with all its fields, got ${JSON.stringify(event).slice(0, 120)}`,
    {
      hint: 'Use the same version of ktrace on both sides.',
    },
  );
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
    isMissingOr(value['chains'], (chains) => isList(chains, isText))
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

function isText(value: unknown): boolean {
  return typeof value === 'string';
}

function isNumber(value: unknown): boolean {
  return typeof value === 'number';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
