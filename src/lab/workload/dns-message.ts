import { isIPv6 } from 'node:net';

/** Fully qualified names, lower-case without the last dot, and their addresses of both families. */
export type Zone = Record<string, string[]>;

const TYPE_A = 1;
const TYPE_AAAA = 28;
const CLASS_IN = 1;
const NXDOMAIN = 3;
const TTL_SECONDS = 5;

/** The answer to a DNS query with one question (RFC 1035); undefined for what is no such query. */
export function answer(query: Buffer, zone: Zone): Buffer | undefined {
  if (query.length < 17 || query.readUInt16BE(4) !== 1 || (query.readUInt16BE(2) & 0x8000) !== 0) return undefined;
  const question = readQuestion(query);
  if (question === undefined) return undefined;
  const addresses = zone[question.name];
  const records = (addresses ?? [])
    .filter((address) => question.type === (isIPv6(address) ? TYPE_AAAA : TYPE_A))
    .map((address) => record(question.type, addressBytes(address)));
  const header = Buffer.alloc(12);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  // Response, authoritative, recursion desired as asked, and the code.
  header.writeUInt16BE(0x8400 | (query.readUInt16BE(2) & 0x0100) | (addresses === undefined ? NXDOMAIN : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, query.subarray(12, question.end), ...records]);
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } | undefined {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length !== 0; length = query[at] ?? 0) {
    // A compressed name, or one that runs over the end, has no place in a question.
    if (length > 63 || at + 1 + length >= query.length) return undefined;
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  if (at + 5 > query.length) return undefined;
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  // The name is a pointer to the question's, at offset 12.
  head.writeUInt16BE(0xc00c, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt32BE(TTL_SECONDS, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail = ''] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [front, back] = [groups(head), groups(tail)];
  const all = address.includes('::') ? [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back] : front;
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
