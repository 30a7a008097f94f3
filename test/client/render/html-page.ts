import { parse } from 'parse5';
import { pageOf } from '../../../src/client/render/html/page.ts';
import type { ReportFacts } from '../../../src/client/report/facts.ts';
import { REPORT_LIMITS, type ReportLimits } from '../../../src/client/report/limits.ts';
import { Report } from '../../../src/client/report/report.ts';
import type { KtraceEvent } from '../../../src/event/types.ts';

export const MANIFEST: NonNullable<ReportFacts['manifest']> = {
  ...{ v: 1, made: '2026-11-22T08:50:00.000Z', targets: [{ kind: 'pod', namespace: 'default', name: 'web' }], filter: 'tcp' },
  ...{ since: '2026-11-22T08:30:00.000Z', until: '2026-11-22T08:50:00.000Z', nodes: ['host1', 'host2'], missing: [] },
};

/** The page of these records. */
export function pageText(
  events: readonly KtraceEvent[],
  { facts = {}, limits = {} }: { facts?: Partial<ReportFacts>; limits?: Partial<ReportLimits> } = {},
): string {
  const report = new Report({ ...REPORT_LIMITS, ...limits });
  for (const event of events) report.add(event);
  report.end();
  return [...pageOf(report, { manifest: MANIFEST, summary: 'all of it', troubles: [], ...facts })].join('');
}

export interface Element {
  tag: string;
  attributes: Record<string, string>;
  /** Its own and that of all below it. */
  text: string;
  inside: Element[];
}

interface ParsedNode {
  tagName?: string;
  value?: string;
  attrs?: { name: string; value: string }[];
  childNodes?: ParsedNode[];
}

/** A page as a browser reads it: its elements in their order, and what the HTML standard calls errors in it. */
export function parsed(page: string): { elements: Element[]; errors: string[] } {
  const errors: string[] = [];
  const root = parse(page, { onParseError: ({ code, startLine }) => errors.push(`${code} in line ${startLine}`) }) as ParsedNode;
  const elements: Element[] = [];
  const walk = ({ tagName, value = '', attrs = [], childNodes = [] }: ParsedNode): { text: string; inside: Element[] } => {
    const element: Element = { tag: tagName ?? '', attributes: {}, text: value, inside: [] };
    for (const { name, value: text } of attrs) element.attributes[name] = text;
    if (tagName !== undefined) elements.push(element);
    for (const child of childNodes) {
      const { text, inside } = walk(child);
      element.text += text;
      element.inside.push(...inside);
    }
    return { text: element.text, inside: tagName === undefined ? element.inside : [element, ...element.inside] };
  };
  walk(root);
  return { elements, errors };
}

/** The element of this id. */
export function byId({ elements }: { elements: Element[] }, id: string): Element {
  const found = elements.find(({ attributes }) => attributes['id'] === id);
  if (found === undefined) throw new Error(`No element has the id ${id}`);
  return found;
}

/** The same records with text before each of their words. */
export function withText(event: KtraceEvent, text: string, spared: readonly string[] = []): KtraceEvent {
  const keep = new Set(['kind', 'dir', 'state', ...spared]);
  const marked = (value: unknown): unknown => {
    if (typeof value === 'string') return text + value;
    if (Array.isArray(value)) return value.map(marked);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, keep.has(key) ? item : marked(item)]));
  };
  return marked(event) as KtraceEvent;
}
