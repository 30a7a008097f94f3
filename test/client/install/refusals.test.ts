import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Api, ApiError } from '../../../src/client/cluster/api.ts';
import { refusalsOf } from '../../../src/client/install/refusals.ts';

const { signal } = new AbortController();

/** As a DaemonSet's controller reports it; Kubernetes 1.36. */
const event = (name: string, lastTimestamp: string, message?: string) => ({
  reason: 'FailedCreate',
  involvedObject: { kind: 'DaemonSet', name },
  lastTimestamp,
  eventTime: null,
  ...(message === undefined ? {} : { message }),
});
const set = (name: string, desiredNumberScheduled: number, currentNumberScheduled: number) => ({
  metadata: { name },
  status: { desiredNumberScheduled, currentNumberScheduled },
});

function api(daemonsets: object[], events: object[] | ApiError): Api {
  const get = (path: string): Promise<unknown> => {
    if (/^\/apis\/apps\/v1\/namespaces\/ktrace-agents\/daemonsets\?/.test(path)) return Promise.resolve({ items: daemonsets });
    assert.match(path, /^\/api\/v1\/namespaces\/ktrace-agents\/events\?fieldSelector=reason%3DFailedCreate/);
    return events instanceof ApiError ? Promise.reject(events) : Promise.resolve({ items: events });
  };
  return { server: 'https://192.0.2.1', get, send: () => Promise.reject(new Error('nothing is changed')) };
}

describe('why pods cannot be made', () => {
  const old = event('ktrace-agent', '2026-11-29T10:00:00Z', 'exceeded quota: ktrace-agent');
  const now = event('ktrace-agent', '2026-11-29T10:05:00Z', 'violates PodSecurity "baseline:latest"');

  test('is the newest word on a DaemonSet of ktrace that lacks pods', async () => {
    const others = [
      event('node-exporter', '2026-11-29T10:06:00Z', 'of somebody else'),
      event('ktrace-gate', '2026-11-29T10:07:00Z', 'of before'),
    ];
    const sets = [set('ktrace-agent', 3, 2), set('ktrace-gate', 3, 3), set('node-exporter', 3, 0)];
    assert.deepEqual(await refusalsOf(api(sets, [now, old, ...others]), 'ktrace-agents', signal), [
      'ktrace-agent: no pod can be made: violates PodSecurity "baseline:latest"',
    ]);
    assert.deepEqual(await refusalsOf(api(sets, [event('ktrace-agent', '')]), 'ktrace-agents', signal), [
      'ktrace-agent: no pod can be made: no reason is given',
    ]);
  });

  test('is nothing where all pods are there, none has been refused, or events may not be read', async () => {
    assert.deepEqual(await refusalsOf(api([set('ktrace-agent', 3, 3)], [now]), 'ktrace-agents', signal), []);
    assert.deepEqual(await refusalsOf(api([set('ktrace-agent', 3, 0)], []), 'ktrace-agents', signal), []);
    const [sets, path] = [[set('ktrace-agent', 3, 0)], '/api/v1/namespaces/ktrace-agents/events'];
    assert.deepEqual(await refusalsOf(api(sets, new ApiError(403, {}, path)), 'ktrace-agents', signal), []);
  });

  test('is not known where the API server fails on the question: the rest of the answer goes on', async () => {
    const [sets, path] = [[set('ktrace-agent', 3, 0)], '/api/v1/namespaces/ktrace-agents/events'];
    const failed = new ApiError(500, { message: 'etcdserver: request timed out' }, path);
    assert.deepEqual(await refusalsOf(api(sets, failed), 'ktrace-agents', signal), [
      `why pods are missing is not known: The API server refused ${path}: etcdserver: request timed out`,
    ]);
  });
});
