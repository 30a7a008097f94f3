import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import type { Asked } from '../../../src/client/dump/dump-nodes.ts';
import { findIncident, tellIncidents } from '../../../src/client/dump/incidents.ts';
import type { Incident } from '../../../src/event/incident.ts';
import { KtraceError } from '../../../src/util/errors.ts';

const AT_MS = Date.UTC(2026, 10, 22, 3, 12, 7);
const DAMAGE = { name: '00000000000001-00000000.kinc', at: 0, bytes: 40 };

function incident(id: string, name: string, fields: Partial<Incident> = {}): Incident {
  return {
    id,
    pod: { namespace: 'shop', name, uid: `uid-${name}`, labels: { app: name } },
    atMs: AT_MS,
    causes: [{ kind: 'exited', container: 'app', exitCode: 1, text: 'container app ended with exit code 1' }],
    fromMs: AT_MS - 300_000,
    toMs: AT_MS + 60_000,
    records: 812,
    cut: 0,
    isWhole: true,
    ...fields,
  };
}

function asked(node: string, incidents: Incident[] | undefined, damaged = [] as (typeof DAMAGE)[]): Asked {
  const access = { node } as Asked['access'];
  const answer = { type: 'recorded', fromMs: 0, toMs: 1, pods: [], known: [], gaps: [], damaged } as const;
  return { access, error: undefined, answer: { ...answer, pods: [], known: [], gaps: [], ...(incidents && { incidents }) } };
}

function silent(node: string): Asked {
  const error = new KtraceError('KTRACE_E_STALLED', `The agent of node ${node} did not answer`);
  return { access: { node } as Asked['access'], answer: undefined, error };
}

function told(nodes: Asked[], options: Partial<Parameters<typeof tellIncidents>[1]> = {}) {
  const sink = () => {
    const lines: string[] = [];
    const write = (chunk: Buffer, _: string, done: () => void): void => {
      lines.push(String(chunk));
      done();
    };
    return { lines, stream: new Writable({ write }) };
  };
  const [stdout, stderr] = [sink(), sink()];
  const all = { sinceMs: 0, untilMs: AT_MS * 2, output: 'text', strict: true } as const;
  const code = tellIncidents({ asked: nodes }, { ...all, ...options }, { stdout: stdout.stream, stderr: stderr.stream });
  return { code, stdout: stdout.lines.join(''), stderr: stderr.lines.join('') };
}

describe('incidents of all nodes', () => {
  const late = incident('00000002', 'db', { atMs: AT_MS + 1000, cut: 5, isWhole: false });

  it('are told as text, oldest first, with time, pod, cause and what is kept', () => {
    const { code, stdout, stderr } = told([
      asked('host1', [late]),
      asked('host2', [incident('00000001', 'web')]),
      asked('old', undefined),
    ]);
    assert.equal(code, 0);
    assert.equal(
      stdout,
      '2026-11-22T03:12:07.000Z  incident/00000001  host2  shop/web  container app ended with exit code 1 (812 records)\n' +
        '2026-11-22T03:12:08.000Z  incident/00000002  host1  shop/db  container app ended with exit code 1 (812 records, 5 found no room, more to come)\n',
    );
    assert.equal(stderr, 'ktrace: 2 incidents\n');
  });

  it('are told as JSON, a line each, of the time that is asked for', () => {
    const nodes = [asked('host1', [late]), asked('host2', [incident('00000001', 'web')])];
    const { stdout } = told(nodes, { output: 'json', untilMs: AT_MS });
    const { labels: _, ...pod } = { ...incident('', 'web').pod };
    assert.deepEqual(JSON.parse(stdout), {
      v: 1,
      kind: 'incident',
      id: '00000001',
      time: '2026-11-22T03:12:07.000Z',
      node: 'host2',
      pod: { ...pod, labels: { app: 'web' } },
      causes: [{ kind: 'exited', container: 'app', exitCode: 1, text: 'container app ended with exit code 1' }],
      from: '2026-11-22T03:07:07.000Z',
      to: '2026-11-22T03:13:07.000Z',
      records: 812,
    });
  });

  it('of a node that is silent or whose files are damaged are missing: it is told, and --strict ends with 5', () => {
    const { code, stderr } = told([asked('host1', [], [DAMAGE]), silent('host2')]);
    assert.equal(code, 5);
    assert.match(stderr, /host1: 40 bytes of 00000000000001-00000000.kinc at 0 are damaged \[KTRACE_N_RECORD_DAMAGED\]/);
    assert.match(stderr, /host2: .*; its incidents are missing \[KTRACE_N_AGENT_DOWN\]/);
    assert.equal(told([silent('host2')], { strict: false }).code, 0);
  });

  it('with words from outside stay on their line', () => {
    const causes = [{ kind: 'exited', text: 'container \u001b[2J\n ended' } as const];
    assert.ok(!told([asked('host1', [incident('00000001', 'web', { causes })])]).stdout.includes('\u001b'));
  });

  it('are found by their id, and an unknown one is told with those that are kept and who was not asked', () => {
    const nodes = [asked('host1', [incident('00000001', 'web')]), silent('host2')];
    assert.equal(findIncident({ asked: nodes }, '00000001').node, 'host1');
    assert.throws(() => findIncident({ asked: nodes }, '00000009'), {
      code: 'KTRACE_E_INCIDENT_UNKNOWN',
      hint: 'Kept are incident/00000001 of shop/web. Not asked: host2.',
    });
    assert.throws(() => findIncident({ asked: [asked('host1', [])] }, '00000009'), { hint: /-n or -A/ });
  });
});
