import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type Pod, podProblem, restartsOf } from '../../../src/client/install/pod-problem.ts';

const pod = (status: Pod['status'], metadata: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: 'ktrace-agent-x', ...metadata },
  ...(status === undefined ? {} : { status }),
});
const container = (state: object, lastState: object = {}, restartCount = 0): Pod['status'] => ({
  phase: 'Running',
  containerStatuses: [{ state, lastState, restartCount }],
});

/** As a kubelet of Kubernetes 1.36 reports it. */
const CASES: [name: string, pod: Pod, problem: string | undefined][] = [
  ['is ready', pod({ phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }), undefined],
  ['is going', pod({ phase: 'Running' }, { deletionTimestamp: '2026-01-01T00:00:00Z' }), undefined],
  [
    'has no image',
    pod(container({ waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "x:1"' } })),
    'ImagePullBackOff: Back-off pulling image "x:1"',
  ],
  [
    'crashes',
    pod(
      container(
        { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } },
        { terminated: { reason: 'Error', exitCode: 1, message: 'one\nno BTF\n' } },
      ),
    ),
    'CrashLoopBackOff; it ended with exit code 1: no BTF',
  ],
  [
    'crashes for its kernel',
    pod(
      container(
        { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } },
        {
          terminated: {
            reason: 'Error',
            exitCode: 1,
            message: '{"level":30}\nktrace: no BTF here [KTRACE_E_NO_BTF]\n  hint: another kernel\n',
          },
        },
      ),
    ),
    'CrashLoopBackOff; it ended with exit code 1: ktrace: no BTF here [KTRACE_E_NO_BTF]',
  ],
  [
    'has a defect',
    pod(
      container({
        terminated: {
          reason: 'Error',
          exitCode: 1,
          message: '/app/x.js:1\n\nTypeError: foo\n    at x (y.js:1:7)\n\nNode.js v24.21.0\n',
        },
      }),
    ),
    'ended with exit code 1: TypeError: foo',
  ],
  [
    'was killed',
    pod(container({ terminated: { reason: 'Error', exitCode: 137, message: '{"level":30,"msg":"following"}\n' } })),
    'ended with exit code 137',
  ],
  [
    'was too big for its memory',
    pod(container({ terminated: { reason: 'OOMKilled', exitCode: 137, message: '{"level":30,"msg":"following"}\n' } })),
    'ended out of memory (OOMKilled)',
  ],
  ['is not ready yet', pod(container({ running: {} })), 'started and not ready yet'],
  [
    'has no node',
    pod({ phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', message: '0/3 nodes are available' }] }),
    'not scheduled: 0/3 nodes are available',
  ],
  [
    'was put out',
    pod({ phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' }),
    'Evicted: The node was low on resource: memory.',
  ],
  ['is new', pod({ phase: 'Pending' }), 'pending'],
  ['says nothing', pod(undefined), 'unknown'],
];

describe('a pod that', () => {
  for (const [name, one, problem] of CASES) test(`${name} is told as ${problem}`, () => assert.equal(podProblem(one), problem));

  test('was started again says how it ended', () => {
    const one = pod(container({ running: {} }, { terminated: { reason: 'OOMKilled', exitCode: 137 } }, 3));
    assert.deepEqual(restartsOf(one), { count: 3, last: 'out of memory (OOMKilled)' });
    assert.deepEqual(restartsOf(pod(undefined)), { count: 0, last: undefined });
  });
});
