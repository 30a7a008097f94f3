import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { covers, grantLine, neededScope, type Scope } from '../../src/access/scope.ts';
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
    assert.equal(grantLine(new Set(['a', 'b']), 'jane'), 'ktrace grant a --user jane && ktrace grant b --user jane');
  });
});
