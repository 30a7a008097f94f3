import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Authorize, createAuthorizer } from '../../src/agent/authorizer.ts';
import { Remembered } from '../../src/agent/remembered.ts';
import type { Subscription, Target } from '../../src/event/target.ts';
import type { Reviewed, Reviewer } from '../../src/kube/reviews.ts';
import { quiet } from './server-fixture.ts';

const A: Target = { kind: 'pod', namespace: 'a', name: 'x' };
const B: Target = { kind: 'namespace', name: 'b' };
const ALL: Target = { kind: 'all' };

/** An API server with a few tokens and rights, that counts what it is asked. */
class FakeReviewer implements Reviewer {
  users = new Map<string, Reviewed>();
  /** `username namespace`; `*` for all. */
  rights = new Set<string>();
  isAway = false;
  tokensAsked = 0;
  accessesAsked: string[] = [];

  async token(token: string, audience: string): Promise<Reviewed | undefined> {
    this.tokensAsked += 1;
    assert.equal(audience, 'ktrace.dev');
    if (this.isAway) throw new Error('connection refused');
    return this.users.get(token);
  }

  async access(
    { username }: Reviewed,
    what: { verb: string; group: string; resource: string; namespace?: string },
  ): Promise<boolean> {
    assert.equal(what.group, 'ktrace.dev');
    const right = `${what.verb} ${what.resource}`;
    assert.ok(['watch flows', 'get payloads'].includes(right), right);
    const asked = `${username} ${what.namespace ?? '*'}${right === 'get payloads' ? ' payloads' : ''}`;
    this.accessesAsked.push(asked);
    if (this.isAway) throw new Error('connection refused');
    return this.rights.has(asked) || this.rights.has(asked.replace(/ \S+( payloads)?$/, ' *$1'));
  }
}

function setUp(): {
  reviewer: FakeReviewer;
  authorize: Authorize;
  /** Never stepped; this machine's clock says `wall.aheadMs` more. */
  clock: { ms: number };
  wall: { aheadMs: number };
  ask(tokens: string[], ...targets: Target[]): ReturnType<Authorize>;
} {
  const reviewer = new FakeReviewer();
  const clock = { ms: 1_000_000 };
  const wall = { aheadMs: 0 };
  const clocks = { nowMs: () => clock.ms, unixMs: () => clock.ms + wall.aheadMs };
  const authorize = createAuthorizer(reviewer, quiet, undefined, clocks);
  const account = (namespace: string, name = 'ktrace-viewer') => `system:serviceaccount:${namespace}:${name}`;
  reviewer.users.set('token-a', { username: account('a') });
  reviewer.users.set('token-b', { username: account('b') });
  reviewer.users.set('token-admin', { username: account('ktrace', 'ktrace-admin') });
  reviewer.rights = new Set([`${account('a')} a`, `${account('b')} b`, `${account('ktrace', 'ktrace-admin')} *`]);
  const ask = (tokens: string[], ...targets: Target[]) =>
    authorize(tokens, { targets, addresses: [], units: 'flows' } satisfies Subscription);
  return { reviewer, authorize, clock, wall, ask };
}

/** With what is behind the headers. */
const withPayloads = (authorize: Authorize, tokens: string[], ...targets: Target[]) =>
  authorize(tokens, { targets, addresses: [], units: 'flows', snapBytes: 64 } satisfies Subscription);

const denied = (text: RegExp) => (error: { code: string; message: string; hint: string }) =>
  error.code === 'KTRACE_E_NOT_AUTHORIZED' && text.test(`${error.message} ${error.hint}`);

describe('authorization', () => {
  it('shows payloads to who may get them, in their namespaces alone, and asks for that right only where they are asked for', async () => {
    const { reviewer, authorize, ask } = setUp();
    const [viewer, admin] = [
      'system:serviceaccount:a:ktrace-payload-viewer',
      'system:serviceaccount:ktrace:ktrace-payload-admin',
    ];
    reviewer.users.set('token-p', { username: viewer });
    reviewer.users.set('token-all', { username: admin });
    for (const right of [`${viewer} a`, `${viewer} a payloads`, `${admin} *`, `${admin} * payloads`]) reviewer.rights.add(right);
    assert.deepEqual(await withPayloads(authorize, ['token-p'], A), {
      identity: viewer,
      allowed: new Set(['a']),
      payloads: true,
    });
    assert.deepEqual(await withPayloads(authorize, ['token-all'], ALL), { identity: admin, allowed: 'all', payloads: true });
    const line = /may not get payloads\.ktrace\.dev in namespace a .*ktrace grant a --payloads --user NAME$/;
    await assert.rejects(withPayloads(authorize, ['token-a'], A), denied(line));
    const wide = /may not get payloads\.ktrace\.dev in all namespaces .*ktrace grant --admin --payloads --user NAME$/;
    await assert.rejects(withPayloads(authorize, ['token-admin'], ALL), denied(wide));
    await assert.rejects(withPayloads(authorize, [], A), denied(/ktrace grant a --payloads --user NAME$/));
    const asked = reviewer.accessesAsked.length;
    await ask(['token-b'], B);
    assert.ok(reviewer.accessesAsked.slice(asked).every((right) => !right.endsWith('payloads')));
  });

  it('shows no more packets with payloads than those whose payloads may be seen, whoever else sees all packets', async () => {
    const { reviewer, authorize } = setUp();
    const viewer = 'system:serviceaccount:a:ktrace-payload-viewer';
    reviewer.users.set('token-p', { username: viewer });
    for (const right of [`${viewer} a`, `${viewer} a payloads`]) reviewer.rights.add(right);
    const { allowed } = await withPayloads(authorize, ['token-p', 'token-admin'], A);
    assert.deepEqual(allowed, new Set(['a']));
  });

  it('lets a viewer see its namespace, an administrator everything, and says which', async () => {
    const { ask } = setUp();
    assert.deepEqual(await ask(['token-a'], A), { identity: 'system:serviceaccount:a:ktrace-viewer', allowed: new Set(['a']) });
    for (const target of [A, B, ALL]) assert.equal((await ask(['token-admin'], target)).allowed, 'all');
  });

  it('joins what several tokens may see, and counts those that are not valid for nothing', async () => {
    const { ask } = setUp();
    assert.deepEqual((await ask(['token-a', 'token-b', 'rubbish'], A, B)).allowed, new Set(['a', 'b']));
  });

  it('denies without a token, with one of nobody, and where one namespace of several is missing', async () => {
    const { ask } = setUp();
    await assert.rejects(ask([], A), denied(/no token.*ktrace grant a --user NAME/));
    await assert.rejects(ask(['rubbish'], A), denied(/not valid/));
    await assert.rejects(ask(['token-a'], B), denied(/may not watch flows\.ktrace\.dev in namespace b.*ktrace grant b/));
    await assert.rejects(ask(['token-a'], A, B), denied(/in namespace b/));
    await assert.rejects(ask(['token-a', 'token-b'], ALL), denied(/in all namespaces.*ktrace grant --admin/));
  });

  it('never puts a token into a message', async () => {
    const { ask, reviewer } = setUp();
    await assert.rejects(ask(['rubbish-secret'], A), (error: Error) => !/secret/.test(error.message));
    reviewer.isAway = true;
    await assert.rejects(ask(['another-secret'], A), (error: Error) => !/secret/.test(error.message));
  });

  it('asks the API server once within 20 s, and again after', async () => {
    const { ask, reviewer, clock } = setUp();
    await Promise.all([ask(['token-a'], A), ask(['token-a'], A)]);
    clock.ms += 19_000;
    await ask(['token-a'], A);
    assert.deepEqual([reviewer.tokensAsked, reviewer.accessesAsked.length], [1, 1]);
    clock.ms += 2_000;
    await ask(['token-a'], A);
    assert.deepEqual([reviewer.tokensAsked, reviewer.accessesAsked.length], [2, 2]);
  });

  it('sees a right that is withdrawn, and a token, within those 20 s', async () => {
    const { ask, reviewer, clock } = setUp();
    await ask(['token-a'], A);
    await ask(['token-b'], B);
    reviewer.rights.delete('system:serviceaccount:a:ktrace-viewer a');
    reviewer.users.delete('token-b');
    clock.ms += 20_001;
    await assert.rejects(ask(['token-a'], A), denied(/may not watch/));
    await assert.rejects(ask(['token-b'], B), denied(/not valid/));
  });

  it("forgets a right after 20 s though this machine's clock is set back", async () => {
    const { ask, reviewer, clock, wall } = setUp();
    await ask(['token-a'], A);
    reviewer.rights.delete('system:serviceaccount:a:ktrace-viewer a');
    clock.ms += 20_001;
    wall.aheadMs = -3_600_000;
    await assert.rejects(ask(['token-a'], A), denied(/may not watch/));
  });

  it('sees a right that has just been granted after 2 s', async () => {
    const { ask, reviewer, clock } = setUp();
    await assert.rejects(ask(['token-a'], B));
    reviewer.rights.add('system:serviceaccount:a:ktrace-viewer b');
    reviewer.users.set('token-general', { username: 'jane' });
    reviewer.rights.add('jane b');
    clock.ms += 2_001;
    assert.deepEqual((await ask(['token-general'], B)).allowed, new Set(['b']));
  });

  it('does not remember a token beyond its end', async () => {
    const { ask, reviewer, clock } = setUp();
    const claims = Buffer.from(JSON.stringify({ exp: clock.ms / 1000 + 5 })).toString('base64url');
    const token = `x.${claims}.y`;
    reviewer.users.set(token, { username: 'system:serviceaccount:a:ktrace-viewer' });
    await ask([token], A);
    reviewer.users.delete(token);
    clock.ms += 5_001;
    await assert.rejects(ask([token], A), denied(/not valid/));
  });

  it('lets nobody in whom it does not know while the API server is away, and remembers no failure', async () => {
    const { ask, reviewer } = setUp();
    reviewer.isAway = true;
    await assert.rejects(ask(['token-a'], A), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
    reviewer.isAway = false;
    assert.deepEqual((await ask(['token-a'], A)).allowed, new Set(['a']));
  });
});

describe('remembered answers', () => {
  it('are bounded in number, the oldest forgotten first', async () => {
    const remembered = new Remembered<number>(3, () => 0);
    for (let i = 0; i < 100; i += 1)
      await remembered.get(
        String(i),
        async () => i,
        () => 1000,
      );
    assert.equal(remembered.size, 3);
    assert.equal(
      await remembered.get(
        '99',
        async () => -1,
        () => 1000,
      ),
      99,
    );
    assert.equal(
      await remembered.get(
        '1',
        async () => -1,
        () => 1000,
      ),
      -1,
    );
  });
});
