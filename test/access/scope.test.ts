import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { covers, grantLine, intersection, neededScope, type Scope } from '../../src/access/scope.ts';
import type { Target } from '../../src/event/target.ts';

describe('what following needs', () => {
  it('is the namespaces of the targets', () => {
    const targets: Target[] = [
      { kind: 'pod', namespace: 'a', name: 'x' },
      { kind: 'service', namespace: 'b', name: 'y' },
      { kind: 'namespace', name: 'c' },
      { kind: 'selector', namespace: 'd', selector: 'app=z' },
    ];
    assert.deepEqual(neededScope(targets), new Set(['a', 'b', 'c', 'd']));
  });

  it('is everything for nodes, for all, and for selectors over all namespaces', () => {
    const wide: Target[] = [{ kind: 'all' }, { kind: 'node', name: 'host1' }, { kind: 'selector', selector: 'app=z' }];
    for (const target of wide) assert.equal(neededScope([{ kind: 'pod', namespace: 'a', name: 'x' }, target]), 'all');
  });

  it('is covered by all of its namespaces and by everything, and by nothing less', () => {
    const cases: [Scope, Scope, boolean][] = [
      ['all', 'all', true],
      ['all', new Set(['a']), true],
      [new Set(['a', 'b']), new Set(['a']), true],
      [new Set(['a']), new Set(['a', 'b']), false],
      [new Set(['a']), 'all', false],
      [new Set(), new Set(['a']), false],
    ];
    for (const [allowed, needed, expected] of cases) assert.equal(covers(allowed, needed), expected);
  });

  it('is granted by a line that a shell takes as it is written', () => {
    assert.equal(grantLine(new Set(['shop']), 'jane@example.com'), 'ktrace grant shop --user jane@example.com');
    assert.equal(grantLine('all', "o'hara; rm"), "ktrace grant --admin --user 'o'\\''hara; rm'");
    assert.equal(grantLine(new Set(['shop']), 'jane', true), 'ktrace grant shop --payloads --user jane');
    assert.equal(grantLine('all', 'jane', true), 'ktrace grant --admin --payloads --user jane');
    assert.equal(grantLine(new Set(['a', 'b']), 'jane'), 'ktrace grant a --user jane && ktrace grant b --user jane');
  });

  it('is what both rights allow, where two are needed', () => {
    const [a, ab] = [new Set(['a']), new Set(['a', 'b'])];
    assert.deepEqual(intersection('all', ab), ab);
    assert.deepEqual(intersection(ab, 'all'), ab);
    assert.deepEqual(intersection(a, ab), a);
    assert.deepEqual(intersection(a, new Set(['b'])), new Set());
    assert.equal(intersection('all', 'all'), 'all');
  });
});
