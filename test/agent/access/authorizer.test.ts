import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Answers } from '../../../src/agent/access/answers.ts';
import { type Authorize, createAuthorizer } from '../../../src/agent/access/authorizer.ts';
import { Remembered } from '../../../src/agent/access/remembered.ts';
import type { Subscription, Target } from '../../../src/event/target.ts';
import type { Reviewed, Reviewer } from '../../../src/kube/api/reviews.ts';
import { quiet } from '../serve/server-fixture.ts';

const A: Target = { kind: 'pod', namespace: 'a', name: 'x' };
const B: Target = { kind: 'namespace', name: 'b' };
const ALL: Target = { kind: 'all' };

const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
const nameOf = (token: string): string => String(claimsOf(token).sub);
const jwt = (claims: object): string => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.y`;

/** A token for the agents by the name that a test gives it; what is a token already is left as it is. */
const tokenOf = (name: string): string =>
  name.includes('.') ? name : jwt({ sub: name, aud: ['ktrace.dev'], exp: 4_000_000_000 });

/** An API server with a few tokens and rights, that counts what it is asked. */
class FakeReviewer implements Reviewer {
  users = new Map<string, Reviewed>();
  /** `username namespace`; `*` for all. */
  rights = new Set<string>();
  isAway = false;
  /** Names of tokens, and of accounts, that it does not answer for. */
  silentOf = new Set<string>();
  tokensAsked = 0;
  accessesAsked: string[] = [];

  async token(token: string, audience: string): Promise<Reviewed | undefined> {
    this.tokensAsked += 1;
    assert.equal(audience, 'ktrace.dev');
    if (this.isAway || this.silentOf.has(nameOf(token))) throw new Error('connection refused');
    return this.users.get(token) ?? this.users.get(nameOf(token));
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
    if (this.isAway || this.silentOf.has(username)) throw new Error('connection refused');
    return this.rights.has(asked) || this.rights.has(asked.replace(/ \S+( payloads)?$/, ' *$1'));
  }
}

function setUp(): {
  reviewer: FakeReviewer;
  authorize: Authorize;
  vouch(token: string): Promise<boolean> | undefined;
  /** Never stepped; this machine's clock says `wall.aheadMs` more. */
  clock: { ms: number };
  wall: { aheadMs: number };
  ask(tokens: string[], ...targets: Target[]): ReturnType<Authorize>;
  /** `ktrace_authorization_reviews_total` */
  reviews(): Record<string, number>;
  /** How many signatures were looked at. */
  checked(): number;
} {
  const reviewer = new FakeReviewer();
  const clock = { ms: 1_000_000 };
  const wall = { aheadMs: 0 };
  const clocks = { nowMs: () => clock.ms, unixMs: () => clock.ms + wall.aheadMs };
  let checks = 0;
  const isSigned = (token: string) => {
    checks += 1;
    return nameOf(token).startsWith('token-');
  };
  const { authorize: decide, vouch, counters } = createAuthorizer(reviewer, isSigned, quiet, undefined, clocks);
  const authorize: Authorize = (tokens, ...asked) => decide(tokens.map(tokenOf), ...asked);
  const account = (namespace: string, name = 'ktrace-viewer') => `system:serviceaccount:${namespace}:${name}`;
  reviewer.users.set('token-a', { username: account('a') });
  reviewer.users.set('token-b', { username: account('b') });
  reviewer.users.set('token-admin', { username: account('ktrace', 'ktrace-admin') });
  reviewer.rights = new Set([`${account('a')} a`, `${account('b')} b`, `${account('ktrace', 'ktrace-admin')} *`]);
  const ask = (tokens: string[], ...targets: Target[]) =>
    authorize(tokens, { targets, addresses: [], units: 'flows' } satisfies Subscription);
  const reviews = () => Object.fromEntries(counters()[0]?.values.map(({ labels, value }) => [labels['review'], value]) ?? []);
  return { reviewer, authorize, vouch: (name) => vouch?.(tokenOf(name)), clock, wall, ask, reviews, checked: () => checks };
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
      accounts: [viewer],
      allowed: new Set(['a']),
      payloads: true,
    });
    assert.deepEqual(await withPayloads(authorize, ['token-all'], ALL), { accounts: [admin], allowed: 'all', payloads: true });
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
    assert.deepEqual(await ask(['token-a'], A), { accounts: ['system:serviceaccount:a:ktrace-viewer'], allowed: new Set(['a']) });
    for (const target of [A, B, ALL]) assert.equal((await ask(['token-admin'], target)).allowed, 'all');
  });

  it('vouches for whose token is good, whatever they may see, and asks for it once', async () => {
    const { vouch, ask, reviewer } = setUp();
    assert.equal(await vouch('rubbish'), false);
    assert.equal(await vouch('no.token'), false);
    assert.equal(await vouch('token-a'), true);
    const asked = reviewer.tokensAsked;
    await ask(['token-a'], A);
    assert.equal(reviewer.tokensAsked, asked);
    reviewer.isAway = true;
    await assert.rejects(async () => vouch('token-b'), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
  });

  it('is by those accounts alone whose right it is, whatever other tokens come along', async () => {
    const { reviewer, authorize, ask } = setUp();
    const [a, b] = ['system:serviceaccount:a:ktrace-viewer', 'system:serviceaccount:b:ktrace-viewer'];
    const [payload, admin] = ['system:serviceaccount:a:ktrace-payload-viewer', 'system:serviceaccount:ktrace:ktrace-admin'];
    reviewer.users.set('token-p', { username: payload });
    for (const right of [`${payload} a`, `${payload} a payloads`]) reviewer.rights.add(right);
    const others = ['a', 'b', 'else'].flatMap((namespace) =>
      Array.from({ length: 3 }, (_, i) => {
        reviewer.users.set(`token-${namespace}${i}`, { username: `system:serviceaccount:${namespace}:other${i}` });
        return `token-${namespace}${i}`;
      }),
    );
    const accountsOf = async (tokens: string[], ...targets: Target[]) => (await ask([...others, ...tokens], ...targets)).accounts;
    assert.deepEqual(await accountsOf(['token-a', 'token-b'], A), [a]);
    assert.deepEqual(await accountsOf(['token-b', 'token-a'], A, B), [a, b]);
    assert.deepEqual(await accountsOf(['token-a', 'token-p'], A), [payload, a]);
    assert.deepEqual(await accountsOf(['token-a', 'token-admin'], A), [admin]);
    const { accounts } = await withPayloads(authorize, [...others, 'token-a', 'token-p', 'token-b'], A);
    assert.deepEqual(accounts, [payload, a]);
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
    const token = jwt({ aud: 'ktrace.dev', exp: clock.ms / 1000 + 5 });
    reviewer.users.set(token, { username: 'system:serviceaccount:a:ktrace-viewer' });
    await ask([token], A);
    reviewer.users.delete(token);
    clock.ms += 5_001;
    await assert.rejects(ask([token], A), denied(/not valid/));
  });

  it('refuses unasked what is no token for the agents, and what ended long ago', async () => {
    const { ask, reviewer, clock, reviews } = setUp();
    const exp = clock.ms / 1000 + 600;
    const junk = [
      'no.token',
      `x.${'!'.repeat(40)}.y`,
      jwt({ sub: 'token-a', exp }),
      jwt({ sub: 'token-a', aud: ['https://kubernetes.default.svc'], exp }),
      jwt({ sub: 'token-a', aud: ['ktrace.dev'] }),
      jwt({ sub: 'token-a', aud: ['ktrace.dev'], exp: clock.ms / 1000 - 3601 }),
    ];
    for (const token of junk) await assert.rejects(ask([token], A), denied(/not valid/));
    assert.equal(reviewer.tokensAsked, 0);
    assert.equal(reviews()['none_not_for_us'], junk.length);
    // By a clock that is wrong: whether it has ended is the API server's to say.
    await ask([jwt({ sub: 'token-a', aud: ['ktrace.dev'], exp: clock.ms / 1000 - 600 })], A);
  });

  it('asks for no more than 20 unknown tokens a second, and again for those that it knows', async () => {
    const { ask, reviewer, clock, reviews } = setUp();
    await ask(['token-a'], A);
    const flood = async (name: string) => {
      const before = reviewer.tokensAsked;
      for (let i = 0; i < 200; i += 1) await ask([`${name}${i}`], A).catch(() => undefined);
      return reviewer.tokensAsked - before;
    };
    assert.equal(await flood('forged'), 64);
    await assert.rejects(ask(['rubbish'], B), {
      code: 'KTRACE_E_ASKED_TOO_OFTEN',
      message: /asked too often.*try again/,
    });
    assert.ok((reviews()['none_too_often'] ?? 0) >= 137);
    clock.ms += 1000;
    assert.equal(await flood('another'), 20);
    // Who streams is asked for again whoever floods.
    clock.ms += 20_000;
    await flood('more');
    const before = reviewer.tokensAsked;
    await ask(['token-a'], A);
    assert.equal(reviewer.tokensAsked, before + 1);
  });

  it('asks at once for a token that the API server has signed, however many come that it has not', async () => {
    const { ask, reviewer } = setUp();
    for (let i = 0; i < 200; i += 1) await ask([`forged${i}`], A).catch(() => undefined);
    await ask(['token-b'], B);
    // A signature lets nobody in.
    const before = reviewer.tokensAsked;
    await assert.rejects(ask(['token-withdrawn'], A), denied(/not valid/));
    assert.equal(reviewer.tokensAsked, before + 1);
    // Nor does it buy any number of questions.
    for (let i = 0; i < 200; i += 1) await ask([`token-old${i}`], A).catch(() => undefined);
    assert.equal(reviewer.tokensAsked, before - 1 + 64);
  });

  it('checks no more than 500 signatures a second: beyond that no token counts as signed', async () => {
    const { ask, reviewer, clock, checked } = setUp();
    for (let i = 0; i < 600; i += 1) await ask([`forged${i}`], A).catch(() => undefined);
    assert.equal(checked(), 500);
    const before = reviewer.tokensAsked;
    await assert.rejects(ask(['token-b'], B), { code: 'KTRACE_E_ASKED_TOO_OFTEN' });
    assert.deepEqual([reviewer.tokensAsked, checked()], [before, 500]);
    clock.ms += 1000;
    await ask(['token-b'], B);
    assert.equal(checked(), 501);
  });

  it('asks for a bounded number of rights a second', async () => {
    const { ask, reviewer, clock } = setUp();
    reviewer.users.set('token-general', { username: 'jane' });
    for (let i = 0; i < 20; i += 1) {
      const targets = Array.from({ length: 256 }, (_, at): Target => ({ kind: 'namespace', name: `n${i}-${at}` }));
      await ask(['token-general'], ...targets).catch(() => undefined);
    }
    assert.equal(reviewer.accessesAsked.length, 1024);
    clock.ms += 20_000;
    assert.ok(await ask(['token-a'], A));
  });

  it('lets nobody in whom it does not know while the API server is away, and remembers no failure', async () => {
    const { ask, reviewer } = setUp();
    reviewer.isAway = true;
    await assert.rejects(ask(['token-a'], A), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
    reviewer.isAway = false;
    assert.deepEqual((await ask(['token-a'], A)).allowed, new Set(['a']));
  });
});

/** Tokens of nobody that look like ours, each another one. */
const forged = (name: string, count = 31): string[] => Array.from({ length: count }, (_, i) => `${name}${i}`);

describe('whoever streams and can be asked for', () => {
  const losses = {
    'the token': ({ users }: FakeReviewer) => users.delete('token-a'),
    'the right': ({ rights }: FakeReviewer) => rights.delete('system:serviceaccount:a:ktrace-viewer a'),
  };
  /** Other tokens of a recheck, that nobody can be asked for. */
  const others = {
    'are too many': (_: FakeReviewer, round: number) => forged(`forged${round}-`),
    'the API server is silent of': ({ silentOf }: FakeReviewer, round: number) => {
      silentOf.add(`odd${round}`);
      return [`odd${round}`];
    },
    'were good once, of who may see nothing there': ({ users, silentOf }: FakeReviewer, round: number) => {
      users.set('token-else', { username: 'somebody' });
      if (round > 0) silentOf.add('token-else');
      return ['token-else'];
    },
  };
  for (const [what, lose] of Object.entries(losses))
    for (const [kind, otherTokens] of Object.entries(others))
      it(`ends when ${what} is withdrawn, beside tokens that ${kind}`, async () => {
        const { ask, reviewer, clock } = setUp();
        await ask(['token-a', ...otherTokens(reviewer, 0)], A);
        for (let round = 1; round <= 3; round += 1) {
          clock.ms += 30_000;
          if (round === 2) lose(reviewer);
          const rechecks = [1, 2, 3].map((stream) => ask(['token-a', ...otherTokens(reviewer, 10 * round + stream)], A));
          if (round === 1) await Promise.all(rechecks);
          else for (const recheck of rechecks) await assert.rejects(recheck, denied(/not valid|may not watch/));
        }
      });

  it('ends when a right is withdrawn that is needed, and the API server is silent of another', async () => {
    const { reviewer, authorize, clock } = setUp();
    const viewer = 'system:serviceaccount:a:ktrace-payload-viewer';
    reviewer.users.set('token-p', { username: viewer });
    for (const right of [`${viewer} a`, `${viewer} a payloads`]) reviewer.rights.add(right);
    await withPayloads(authorize, ['token-p'], A);
    const access = reviewer.access.bind(reviewer);
    for (const [silent, withdrawn] of [
      ['flows', 'payloads'],
      ['payloads', 'flows'],
    ]) {
      clock.ms += 30_000;
      reviewer.access = async (who, what) => {
        if (what.resource === silent) throw new Error('connection refused');
        return what.resource !== withdrawn && access(who, what);
      };
      await assert.rejects(withPayloads(authorize, ['token-p'], A), denied(new RegExp(`may not \\w+ ${withdrawn}`)));
      reviewer.access = access;
      clock.ms += 30_000;
      await withPayloads(authorize, ['token-p'], A);
    }
  });

  it('is undecided while the API server is silent of what gave the right, beside tokens of nobody', async () => {
    const { ask, reviewer, clock } = setUp();
    const account = 'system:serviceaccount:a:ktrace-viewer';
    for (const silent of ['token-a', account]) {
      await ask(['token-a'], A);
      clock.ms += 30_000;
      reviewer.silentOf.add(silent);
      const tokens = ['token-a', 'rubbish', ...forged(`forged ${silent} `, 100)];
      await assert.rejects(ask(tokens, A), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
      reviewer.silentOf.clear();
      clock.ms += 30_000;
    }
  });

  it('is undecided where the token is known and its right is not, and refused where nobody else could have it', async () => {
    const { ask, reviewer } = setUp();
    reviewer.silentOf.add('system:serviceaccount:a:ktrace-viewer');
    await assert.rejects(ask(['token-a'], A), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
    await assert.rejects(ask(['token-a', 'token-b'], A, B), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
    // A namespace's own account sees that namespace alone: nobody is asked.
    await assert.rejects(ask(['token-b'], ALL), { code: 'KTRACE_E_NOT_AUTHORIZED' });
  });

  it('is undecided in one of several namespaces, and let in where it is certain', async () => {
    const { ask, reviewer } = setUp();
    reviewer.silentOf.add('token-b');
    await assert.rejects(ask(['token-a', 'token-b'], A, B), { code: 'KTRACE_E_AUTHORIZATION_UNAVAILABLE' });
    assert.deepEqual((await ask(['token-a', 'token-b'], A)).allowed, new Set(['a']));
    for (let i = 0; i < 3; i += 1) await ask(forged(`forged${i} `), A).catch(() => undefined);
    assert.deepEqual((await ask(['token-a', ...forged('more')], A)).allowed, new Set(['a']));
    await assert.rejects(ask(['token-a', 'unasked'], A, B), { code: 'KTRACE_E_ASKED_TOO_OFTEN' });
  });
});

describe('remembered answers', () => {
  it('that let somebody in are not pushed out by those that do not', async () => {
    const answers = new Answers<boolean>(
      3,
      (isGood) => isGood,
      () => 0,
    );
    let asked = 0;
    const ask = (key: string, answer: boolean) =>
      answers.get(
        key,
        async () => {
          asked += 1;
          return answer;
        },
        () => 1000,
      );
    assert.equal(await ask('good', true), true);
    for (let i = 0; i < 100; i += 1) await ask(`bad${i}`, false);
    assert.equal(await ask('good', false), true);
    assert.equal(await ask('bad99', true), false);
    assert.equal(asked, 101);
  });

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
