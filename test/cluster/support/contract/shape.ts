import type { Answer } from './ask.ts';

/** Which of the words that clients decide by, and of the messages, are compared as they are. */
export type Told = 'all' | 'no messages' | 'no words';

/**
 * What is compared of an answer: a line for its status and type, and for each field its place and kind, `items[].metadata.uid: string`; words
 * as they are, `reason: "NotFound"`; free maps (labels, …) as a whole.
 */
export function shapeOf({ status, type, body }: Answer, told: Told = 'all'): string[] {
  const lines = new Set<string>();
  collect('', body, lines);
  const words = [...lines].map((line) => {
    if (told === 'all') return line;
    return line.replace(told === 'no words' ? / ".*"$/ : /(?<=\bmessage:) ".*"$/, ' string');
  });
  return [`${status} ${type}`, ...new Set(words)].sort();
}

const AS_THEY_ARE = new Set(['kind', 'apiVersion', 'status', 'reason', 'code', 'type', 'field', 'message', 'phase', 'group']);
const FREE_MAPS = new Set(['labels', 'annotations', 'selector', 'matchLabels', 'nodeSelector', 'fieldsV1', 'data', 'extra']);

function collect(path: string, value: unknown, lines: Set<string>): void {
  if (Array.isArray(value)) {
    if (value.length === 0) lines.add(`${path}[]`);
    for (const one of value) collect(`${path}[]`, one, lines);
    return;
  }
  const key = path.split('.').at(-1) ?? '';
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    if (FREE_MAPS.has(key) || entries.length === 0) lines.add(`${path}: {}`);
    else for (const [name, one] of entries) collect(path === '' ? name : `${path}.${name}`, one, lines);
    return;
  }
  const isWord = AS_THEY_ARE.has(key) && value !== null;
  lines.add(
    `${path}: ${isWord ? normal(JSON.stringify(value)) : value === null ? 'null' : value === '' ? 'empty string' : typeof value}`,
  );
}

/** Without what differs from server to server and run to run: versions, uids, addresses. */
function normal(text: string): string {
  return text
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, 'UID')
    .replace(/ktrace-contract-[0-9a-f]{6}/g, 'NS')
    .replace(/(?<=resource version: )\d+ \(\d+\)/, 'N (N)');
}

export interface Difference {
  /** What the lab says and the real server does not. */
  onlyLab: string[];
  /** What the real server says and the lab does not, but for what may be left out. */
  onlyReal: string[];
}

/** @param mayLeaveOut patterns of lines that the lab need not have */
export function compare(lab: readonly string[], real: readonly string[], mayLeaveOut: readonly RegExp[]): Difference {
  const [labs, reals] = [new Set(lab), new Set(real)];
  return {
    onlyLab: lab.filter((line) => !reals.has(line)),
    onlyReal: real.filter((line) => !labs.has(line) && !mayLeaveOut.some((pattern) => pattern.test(line))),
  };
}
