import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { recordedServices, type ServiceLine } from '../../src/store/services.ts';

const PORTS = [{ name: 'http', proto: 'tcp', port: 8080 }];
const run = (name: string, atMs: number): ServiceLine => ({ run: name, node: 'host1', atMs });
const end = (toMs: number | undefined) => (toMs === undefined ? {} : { toMs });
const state = (ip: string, of: string, fromMs: number, toMs?: number): ServiceLine => ({
  ...{ service: { namespace: 'shop', name: 'web', ips: [ip], ports: [] }, fromMs, ...end(toMs), run: of },
});
const endpoint = (ip: string, of: string, fromMs: number, toMs?: number): ServiceLine => ({
  ...{ of: 'shop/web', ports: PORTS, endpoints: [{ ip }], fromMs, ...end(toMs), run: of },
});

/** What the lines say of shop/web: address, from, to. */
async function was(...lines: ServiceLine[]): Promise<[string, number, number | undefined][]> {
  const [web] = await recordedServices(lines);
  const states = (web?.states ?? []).map(({ ips, fromMs, toMs }) => [ips[0] ?? '', fromMs, toMs] as [string, number, number]);
  return [...states, ...(web?.endpoints ?? []).map(({ ip, fromMs, toMs }) => [ip, fromMs, toMs] as [string, number, number])];
}

suite('Services of a recording', () => {
  test('are told with what they were in turn, and with each endpoint’s time', async () => {
    assert.deepEqual(
      await was(
        run('r', 0),
        state('10.96.0.1', 'r', 1),
        endpoint('10.0.0.1', 'r', 2),
        state('10.96.0.1', 'r', 1, 5),
        state('10.96.0.2', 'r', 5),
        endpoint('10.0.0.1', 'r', 2, 6),
        endpoint('10.0.0.2', 'r', 6),
      ),
      [
        ['10.96.0.1', 1, 5],
        ['10.96.0.2', 5, undefined],
        ['10.0.0.1', 2, 6],
        ['10.0.0.2', 6, undefined],
      ],
    );
  });

  test('that are as they were before are told as twice, with the time in between left out', async () => {
    const lines = [endpoint('10.0.0.1', 'r', 1, 4), endpoint('10.0.0.1', 'r', 9)];
    assert.deepEqual(await was(run('r', 0), ...lines), [
      ['10.0.0.1', 1, 4],
      ['10.0.0.1', 9, undefined],
    ]);
  });

  test('are one where a segment begins with them anew, also behind their end', async () => {
    const lines = [endpoint('10.0.0.1', 'r', 1), run('r', 0), endpoint('10.0.0.1', 'r', 1), endpoint('10.0.0.1', 'r', 1, 7)];
    assert.deepEqual(await was(run('r', 0), ...lines), [['10.0.0.1', 1, 7]]);
  });

  test('that a killed recorder left open end with the next run, unless that one finds them again', async () => {
    const before = [run('r', 0), endpoint('10.0.0.1', 'r', 1), endpoint('10.0.0.2', 'r', 1)];
    const after = [run('s', 1000), endpoint('10.0.0.1', 's', 1500), run('t', 5000), endpoint('10.0.0.1', 't', 5100)];
    assert.deepEqual(await was(...before, ...after), [
      ['10.0.0.1', 1, undefined],
      ['10.0.0.2', 1, 1000],
    ]);
    // One that comes later is another.
    assert.deepEqual(await was(run('r', 0), endpoint('10.0.0.1', 'r', 1), run('s', 1000), endpoint('10.0.0.1', 's', 90_000)), [
      ['10.0.0.1', 1, 1000],
      ['10.0.0.1', 90_000, undefined],
    ]);
  });
});
