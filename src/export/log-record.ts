import type { NoticeEvent } from '../event/types.ts';
import { dropBody, eventName, flowBody, lostBody } from './body.ts';
import {
  DROP_FIELDS,
  END_FIELDS,
  type Exported,
  type Field,
  type FieldValue,
  FLOW_FIELDS,
  LOST_FIELDS,
  NOTICE_FIELDS,
  withEnds,
} from './fields.ts';

const SEVERITY = { info: 'INFO', warn: 'WARN', error: 'ERROR' } as const;
/** OpenTelemetry's numbers of these severities. */
const NUMBERS = { INFO: 9, WARN: 13, ERROR: 17 } as const;

/**
 * A record as an OTLP `LogRecord` in JSON, its text in one piece.
 * @param uid unique for ever: a collector that got a record twice can tell
 * @param observedNs Unix nanoseconds
 */
export function logRecordJson(event: Exported, uid: string, observedNs: bigint): string {
  const observed = String(observedNs);
  const severity = severityOf(event);
  const attributes = [attributeJson('log.record.uid', 'string', uid)];
  const body = addFields(attributes, event);
  return [
    `{"timeUnixNano":"${timeOf(event) ?? observed}","observedTimeUnixNano":"${observed}"`,
    `,"severityNumber":${NUMBERS[severity]},"severityText":"${severity}","eventName":"${eventName(event)}"`,
    `,"body":{"stringValue":${JSON.stringify(body)}},"attributes":[`,
    attributes.join(','),
    ']}',
  ].join('');
}

/** An attribute as a `KeyValue` in JSON; 64-bit integers are decimal strings there. */
export function attributeJson(name: string, type: Field<never>['type'], value: NonNullable<FieldValue>): string {
  return `{"key":"${name}","value":${valueJson(type, value)}}`;
}

function valueJson(type: Field<never>['type'], value: NonNullable<FieldValue>): string {
  if (type === 'string[]') {
    return `{"arrayValue":{"values":[${(value as readonly string[]).map((one) => valueJson('string', one)).join(',')}]}}`;
  }
  if (type === 'int') return `{"intValue":"${value}"}`;
  if (type === 'boolean') return `{"boolValue":${value}}`;
  return `{"stringValue":${JSON.stringify(value)}}`;
}

/** Adds the attributes of a record's kind; gives its body. */
function addFields(into: string[], event: Exported): string {
  switch (event.kind) {
    case 'flow': {
      const from = withEnds(event);
      add(into, END_FIELDS, from);
      add(into, FLOW_FIELDS, from);
      return flowBody(from);
    }
    case 'packet': {
      const from = withEnds(event);
      add(into, END_FIELDS, from);
      add(into, DROP_FIELDS, from);
      return dropBody(from);
    }
    case 'lost':
      add(into, LOST_FIELDS, event);
      return lostBody(event);
    default:
      add(into, NOTICE_FIELDS, event);
      return event.text;
  }
}

function add<From>(into: string[], fields: readonly Field<From>[], from: From): void {
  for (const { name, type, of } of fields) {
    const value = of(from);
    if (value === undefined || (type === 'string[]' && (value as readonly string[]).length === 0)) continue;
    into.push(attributeJson(name, type, value));
  }
}

function severityOf(event: Exported): keyof typeof NUMBERS {
  if (event.kind === 'notice') return SEVERITY[(event satisfies NoticeEvent).level];
  return event.kind === 'flow' ? 'INFO' : 'WARN';
}

/** When it happened, Unix nanoseconds in decimal: a flow that goes on or has ended, at its last packet. */
function timeOf(event: Exported): string | undefined {
  if (event.kind === 'packet') return unixNs(event.time);
  if (event.kind === 'flow') return unixNs(event.state === 'open' ? event.startTime : event.endTime);
  return event.kind === 'lost' ? unixNs(event.to) : undefined;
}

let cachedSecond = '';
let cachedUnix = '';

/** Of RFC 3339 in UTC with nine digits, as all events have it. */
function unixNs(time: string): string {
  const second = time.slice(0, 19);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedUnix = String(Date.parse(`${second}Z`) / 1000);
  }
  return cachedUnix + time.slice(20, 29);
}
