import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Api, ApiError } from '../../../src/client/cluster/api.ts';
import { Credentials } from '../../../src/client/cluster/credentials.ts';
import type { Target } from '../../../src/event/target.ts';
import { KtraceError } from '../../../src/util/errors.ts';

const A: Target = { kind: 'pod', namespace: 'a', name: 'x' };
const B: Target = { kind: 'pod', namespace: 'b', name: 'y' };
const REFUSED = new KtraceError('KTRACE_E_NOT_AUTHORIZED', 'The agent refused', { exitCode: 4 });

interface Fake {
  api: Api;
  /** `namespace/account` for which tokens are given, and for how long. */
  gives: Map<string, number>;
  asked: { path: string; body: unknown }[];
  isAway: boolean;
  /** What the API server says to who may have no token. */
  refusal: number;
}

function fake(...gives: string[]): Fake {
  const state: Fake = {
    gives: new Map(gives.map((one) => [one, 600_000])),
    asked: [],
    isAway: false,
    refusal: 403,
    api: {
      server: 'https://api',
      get: async () => ({}),
      send: async (_, path, body) => {
        if (state.isAway) throw new KtraceError('KTRACE_E_API_UNREACHABLE', 'away');
        if (path.endsWith('/selfsubjectreviews')) return { status: { userInfo: { username: 'jane' } } };
        state.asked.push({ path, body });
        const [, namespace, account] = /namespaces\/(.+)\/serviceaccounts\/(.+)\/token$/.exec(path) ?? [];
        const lifeMs = state.gives.get(`${namespace}/${account}`);
        if (lifeMs === undefined) throw new ApiError(state.refusal, { message: 'no' }, path);
        const expirationTimestamp = new Date(Date.now() + lifeMs).toISOString();
        return { status: { token: `${namespace}/${account} ${state.asked.length}`, expirationTimestamp } };
      },
    },
  };
  return state;
}

function open(t: TestContext, { api }: Fake, ...targets: Target[]): Credentials {
  const credentials = new Credentials({ api, targets, ktraceNamespace: 'ktrace', retryMs: 10 });
  t.after(() => credentials.close());
  return credentials;
}

const owners = (credentials: Credentials): string[] => credentials.tokens().map((token) => token.split(' ')[0] ?? '');

test('a token is asked for the audience of the agents, for ten minutes', async (t) => {
  const state = fake('a/ktrace-viewer');
  const credentials = open(t, state, A);
  await credentials.fresh();
  assert.deepEqual(owners(credentials), ['a/ktrace-viewer']);
  assert.deepEqual(state.asked[0]?.body, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences: ['ktrace.dev'], expirationSeconds: 600 },
  });
});

test('each namespace has a token of its own, and who may see everything needs one', async (t) => {
  const viewer = open(t, fake('a/ktrace-viewer', 'b/ktrace-viewer'), A, B);
  await viewer.fresh();
  assert.deepEqual(owners(viewer), ['a/ktrace-viewer', 'b/ktrace-viewer']);
  const admin = open(t, fake('a/ktrace-viewer', 'b/ktrace-viewer', 'ktrace/ktrace-admin'), A, B);
  await admin.fresh();
  assert.deepEqual(owners(admin), ['ktrace/ktrace-admin']);
});

test('who asks for payloads is the accounts that see them, and a refusal names the line that helps', async (t) => {
  const open = (state: Fake, ...targets: Target[]): Credentials => {
    const credentials = new Credentials({ api: state.api, targets, ktraceNamespace: 'ktrace', payloads: true });
    t.after(() => credentials.close());
    return credentials;
  };
  const viewer = open(fake('a/ktrace-viewer', 'a/ktrace-payload-viewer', 'ktrace/ktrace-admin'), A);
  await viewer.fresh();
  assert.deepEqual(owners(viewer), ['a/ktrace-payload-viewer']);
  const admin = open(fake('a/ktrace-payload-viewer', 'ktrace/ktrace-payload-admin'), A);
  await admin.fresh();
  assert.deepEqual(owners(admin), ['ktrace/ktrace-payload-admin']);
  const without = open(fake('a/ktrace-viewer'), A);
  await without.fresh();
  const denied = new KtraceError('KTRACE_E_NOT_AUTHORIZED', 'no', { exitCode: 4 });
  const told = (await without.explain(denied)) as KtraceError;
  assert.equal(told.exitCode, 4);
  assert.match(told.message, /^jane may not see the payloads of namespace a with ktrace/);
  assert.match(told.hint ?? '', /: ktrace grant a --payloads --user jane$/);
});

test('who may have no token goes on without, and a refusal names the line that helps', async (t) => {
  const cases: [Fake, Target[], RegExp, RegExp][] = [
    [fake(), [A], /^jane may not see namespace a /, /ktrace grant a --user jane$/],
    [fake('a/ktrace-viewer'), [A, B], /^jane may not see namespace b /, /ktrace grant b --user jane$/],
    [fake(), [{ kind: 'all' }], /^jane may not see everything /, /ktrace grant --admin --user jane$/],
    // The tokens are there, but not what they should stand for.
    [fake('a/ktrace-viewer'), [A], /^The agent refused$/, /ktrace grant a --user jane$/],
  ];
  for (const [state, targets, message, hint] of cases) {
    const credentials = open(t, state, ...targets);
    await credentials.fresh();
    const error = (await credentials.explain(REFUSED)) as KtraceError;
    assert.equal(error.code, 'KTRACE_E_NOT_AUTHORIZED');
    assert.equal(error.exitCode, 4);
    assert.match(error.message, message);
    assert.match(error.hint ?? '', hint);
  }
});

test('errors that are no refusal are told as they are', async (t) => {
  const credentials = open(t, fake(), A);
  const other = new KtraceError('KTRACE_E_NO_AGENT', 'none', { exitCode: 3 });
  assert.equal(await credentials.explain(other), other);
});

test('an API server that is away is an error at the start', async (t) => {
  const state = fake('a/ktrace-viewer');
  state.isAway = true;
  await assert.rejects(open(t, state, A).fresh(), { code: 'KTRACE_E_API_UNREACHABLE' });
});

test('only that one may not, or that the account is not there, is a no: other answers are errors', async (t) => {
  for (const status of [400, 401, 409, 422, 429, 500, 503]) {
    const state = fake('ktrace/ktrace-admin');
    state.refusal = status;
    await assert.rejects(open(t, state, A).fresh(), { status }, `${status}`);
  }
  for (const status of [403, 404]) {
    const state = fake('ktrace/ktrace-admin');
    state.refusal = status;
    const credentials = open(t, state, A);
    await credentials.fresh();
    assert.deepEqual(owners(credentials), ['ktrace/ktrace-admin'], `${status}`);
  }
});

test('tokens are renewed before they end, again after a failure, and the new ones are told', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const tried = () => new Promise(setImmediate);
  const state = fake('a/ktrace-viewer');
  const credentials = open(t, state, A);
  let renewed = 0;
  credentials.onRenewed = () => {
    renewed += 1;
  };
  await credentials.fresh();
  const [first] = credentials.tokens();
  const asked = state.asked.length;
  t.mock.timers.tick(359_999);
  await tried();
  assert.equal(state.asked.length, asked);
  state.isAway = true;
  for (const ms of [1, 10]) {
    t.mock.timers.tick(ms);
    await tried();
    assert.equal(renewed, 0);
    assert.deepEqual(credentials.tokens(), [first]);
  }
  state.isAway = false;
  t.mock.timers.tick(9);
  await tried();
  assert.equal(renewed, 0);
  t.mock.timers.tick(1);
  await tried();
  assert.equal(renewed, 1);
  assert.notDeepEqual(credentials.tokens(), [first]);
});

test('tokens that are about to end are minted anew before a connection is made, once for all', async (t) => {
  const state = fake('a/ktrace-viewer');
  state.gives.set('a/ktrace-viewer', 20_000);
  const credentials = open(t, state, A);
  await Promise.all([credentials.fresh(), credentials.fresh()]);
  await credentials.fresh();
  const asked = state.asked.map(({ path }) => /serviceaccounts\/(.+)\/token$/.exec(path)?.[1]);
  assert.deepEqual(
    asked,
    ['ktrace-admin', 'ktrace-viewer', 'ktrace-viewer'],
    'who may not see everything is asked for that once',
  );
});
