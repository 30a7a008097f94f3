import assert from 'node:assert/strict';

const number = (text: string | undefined): number => Number((text ?? '0').replaceAll(',', ''));

/** The two lines that a follow or a dump ends with, as numbers; throws where there are none, or where their counts do not add up. */
export function summaryOf(stderr: string): { packets: number; dropped: number; flows: number; lost: number; records: number } {
  const shown = /^ktrace: ([\d,]+) packets?(?: \(([\d,]+) dropped\))?, ([\d,]+) flows?, ([\d,]+) lost.*; .* s\b.*$/m.exec(stderr);
  const came = /^ktrace: ([\d,]+) records?(?:: (.+))?$/m.exec(stderr);
  assert.ok(shown !== null && came !== null && shown.index < came.index, stderr);
  const parts = (came[2] ?? '').replaceAll(/ \(.*?\)/g, '').split(', ');
  const sum = parts.reduce((all, part) => all + number(/^[\d,]+/.exec(part)?.[0]), 0);
  assert.equal(sum, number(came[1]), came[0]);
  return {
    packets: number(shown[1]),
    dropped: number(shown[2]),
    flows: number(shown[3]),
    lost: number(shown[4]),
    records: number(came[1]),
  };
}
