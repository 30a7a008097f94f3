import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Columns } from '../../../src/client/render/lines/columns.ts';
import { fc } from '../../support/fast-check.ts';

const words = fc.array(fc.stringMatching(/^[a-z>]{1,20}$/), { minLength: 1, maxLength: 6 });
const cells = fc.array(fc.stringMatching(/^[a-z>]{0,20}$/), { minLength: 3, maxLength: 3 });
const time = '08:45:00.123';

test('nothing is cut or moved, and a line is as wide as the terminal at most, unless one word alone is wider', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(cells, words), { minLength: 1, maxLength: 10 }),
      fc.integer({ min: 20, max: 140 }),
      (rows, width) => {
        const columns = new Columns();
        for (const [row, parts] of rows) {
          const text = columns.line([time, ...row], parts, width);
          assert.deepEqual(
            text.split(/\s+/),
            [time, ...row, ...parts].filter((word) => word !== ''),
          );
          for (const [index, line] of text.split('\n').entries()) {
            const isAlone = line.trim().split(/\s+/).length <= 1;
            assert.ok(line.length <= width || isAlone, `${line.length} > ${width}: ${line}`);
            assert.equal(line.startsWith(' '), index > 0);
          }
        }
      },
    ),
  );
});

test('lines with room begin their columns where the others do', () => {
  const columns = new Columns();
  const rows = [
    ['host1>host3', 'frontend:41512', '-> svc redis:6379', 'tcp S'],
    ['host1', 'web:1', '<- db:2', 'udp 61'],
    ['', 'frontend:41512', '-> x', 'tcp S'],
  ].map(([node = '', who = '', whom = '', proto = '']) => columns.line([time, node, who, whom], [proto], 80));
  assert.deepEqual(rows, [
    '08:45:00.123 host1>host3 frontend:41512 -> svc redis:6379 tcp S',
    '08:45:00.123 host1       web:1          <- db:2           udp 61',
    '08:45:00.123             frontend:41512 -> x              tcp S',
  ]);
});

test('a column that no line uses takes no room; one that grew is narrow again after forty lines', () => {
  const columns = new Columns();
  const line = (node: string): string => columns.line([time, node, 'web:1', '-> x'], ['tcp S'], 80);
  assert.equal(line(''), '08:45:00.123 web:1 -> x tcp S');
  assert.equal(line('a-long-name'), '08:45:00.123 a-long-name web:1 -> x tcp S');
  assert.equal(line('n'), '08:45:00.123 n           web:1 -> x tcp S');
  for (let index = 0; index < 40; index++) line('n');
  assert.equal(line('n'), '08:45:00.123 n web:1 -> x tcp S');
});

test('aligning yields to fitting, and fitting to a second line under the nodes', () => {
  const columns = new Columns();
  columns.line([time, 'host1>host3', 'frontend', '-> x'], ['tcp S'], 40);
  assert.equal(
    columns.line([time, 'host1', 'frontend', '-> x'], ['tcp SA', 'ok'], 40),
    '08:45:00.123 host1 frontend -> x tcp SA\n             ok',
  );
  // The second column has room where it belongs, the third has not.
  assert.equal(columns.line([time, 'host1', 'web', '-> x'], ['tcp S'], 40), '08:45:00.123 host1       web -> x tcp S');
});
