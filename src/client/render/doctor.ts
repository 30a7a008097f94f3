import type { NodeReport } from '../../event/node-report.ts';
import type { SilentNode } from '../wire/node-question.ts';
import { escapeText } from './style/escape.ts';

/** A node's report as text. Everything from outside is escaped, line by line. */
export function reportLines(report: NodeReport | SilentNode): string[] {
  const lines = 'kernel' in report ? wholeReport(report) : [`${report.node}  CANNOT BE ASKED`, ...indented(report.reason)];
  return [...lines.map(escapeText), ''];
}

function wholeReport(report: NodeReport): string[] {
  const { node, version, kernel, capabilities, hooks, interfaces, lacks, works, reason } = report;
  const missing = capabilities.filter(({ has }) => !has);
  const attached = interfaces.filter((one) => one.attached).length;
  return [
    `${node}  ${works ? 'works' : 'DOES NOT WORK'}  Linux ${kernel.release} ${kernel.arch}, ${kernel.btf ? 'BTF' : 'no BTF'}, ktrace ${version}`,
    ...(reason === undefined ? [] : indented(reason)),
    `  capabilities: ${
      capabilities
        .filter(({ has }) => has)
        .map(({ name }) => name)
        .join(', ') || 'none'
    }`,
    ...missing.map(({ name, for: purpose }) => `    without ${name}: ${purpose}`),
    ...(hooks.length === 0
      ? []
      : ['  hooks:', ...table(hooks.map((hook) => [hook.name, hook.backend, hook.state, reasonText(hook)]))]),
    ...(interfaces.length === 0
      ? []
      : [
          `  interfaces: ${interfaces.length}, ${attached > 0 ? `${attached} attached` : works ? 'attached when somebody follows' : 'none attached'}`,
          ...table(interfaces.map((one) => [one.name, one.kind, one.attached ? 'attached' : ''])),
        ]),
    ...(lacks.length === 0 ? [] : ['  cannot be told:', ...lackLines(lacks)]),
  ];
}

/** What is missing for one and the same reason is told together: a kernel without kprobes lacks them all. */
function lackLines(lacks: NodeReport['lacks']): string[] {
  const groups = new Map<string, NodeReport['lacks']>();
  for (const lack of lacks) {
    const key = JSON.stringify([lack.why, lack.remedy]);
    groups.set(key, [...(groups.get(key) ?? []), lack]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first = '', ...more] = group[0]?.why.split('\n') ?? [];
    return [
      ...group.map(({ what }) => `    ${what}`),
      `      because ${first}`,
      ...more.map((line) => `        ${line}`),
      `      remedy: ${group[0]?.remedy ?? ''}`,
    ];
  });
}

/** Why a hook is not there stands behind what that costs. */
function reasonText({ state, reason = '' }: NodeReport['hooks'][number]): string {
  return state === 'unavailable' ? '' : (reason.split('\n', 1)[0] ?? '');
}

function table(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => `    ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
}

function indented(text: string): string[] {
  return text.split('\n').map((line) => `  ${line}`);
}
