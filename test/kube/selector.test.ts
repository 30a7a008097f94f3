import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { KtraceError } from '../../src/util/errors.ts';
import { parseSelector, type Requirement, selects } from '../../src/util/label-selector.ts';
import { fc } from '../support/fast-check.ts';

function chosen(selector: string, labels: Record<string, string>): boolean {
  return selects(parseSelector(selector), labels);
}

describe('a label selector', () => {
  it('means what Kubernetes means by it', () => {
    const labels = { app: 'redis', role: 'slave', 'app.kubernetes.io/name': 'x', empty: '', gen: '3' };
    const yes = [
      '',
      '  ',
      'app=redis',
      'app==redis',
      'app = redis , role=slave',
      'app!=web',
      'other!=web',
      'app in (redis, web)',
      'app in(redis)',
    ];
    const more = [
      'role notin (a,b)',
      'other notin (a)',
      'app',
      '!other',
      '! other',
      'app.kubernetes.io/name=x',
      'empty=',
      'empty in (,a)',
      'gen>2',
      'gen<4',
      'in!=1',
    ];
    for (const text of [...yes, ...more]) assert.equal(chosen(text, labels), true, text);
    const no = [
      'app=web',
      'app!=redis',
      'app notin (redis)',
      'other in (a)',
      '!app',
      'other',
      'app=redis,role=master',
      'gen>3',
      'app>1',
      'constructor',
    ];
    for (const text of no) assert.equal(chosen(text, labels), false, text);
  });

  it('that is wrong is refused with a caret under the place', () => {
    const cases: [string, number][] = [
      ['app=redis,', 10],
      ['app in redis', 7],
      ['app in (a', 9],
      ['=x', 0],
      ['app=a b', 6],
      ['a/b/c=x', 0],
      ['app~x', 0],
      ['app=x_', 4],
      ['gen>x', 4],
      ['app in (a;b)', 8],
      [`${'k'.repeat(64)}=x`, 0],
    ];
    for (const [text, column] of cases) {
      assert.throws(
        () => parseSelector(text),
        (error: unknown) => {
          assert.ok(error instanceof KtraceError, text);
          assert.equal(error.code, 'KTRACE_E_SELECTOR');
          assert.equal(error.exitCode, 2);
          assert.equal(error.message.split('\n').at(-1), `  ${' '.repeat(column)}^`, text);
          return true;
        },
      );
    }
  });

  it('is parsed back from its text as it was', () => {
    const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);
    const plain = { noNullPrototype: true };
    const requirement = fc.oneof(
      fc.record({ key: word, operator: fc.constantFrom('exists' as const, 'absent' as const) }, plain),
      fc.record(
        {
          key: word,
          operator: fc.constantFrom('in' as const, 'not-in' as const),
          values: fc.array(word, { minLength: 1, maxLength: 3 }),
        },
        plain,
      ),
      fc.record({ key: word, operator: fc.constantFrom('greater' as const, 'less' as const), value: fc.integer() }, plain),
    );
    const print = (one: Requirement): string => {
      if ('values' in one) return `${one.key} ${one.operator === 'in' ? 'in' : 'notin'} (${one.values.join(',')})`;
      if ('value' in one) return `${one.key} ${one.operator === 'greater' ? '>' : '<'} ${one.value}`;
      return one.operator === 'exists' ? one.key : `!${one.key}`;
    };
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 5 }), (all) => {
        assert.deepEqual(parseSelector(all.map(print).join(', ')), all);
      }),
    );
  });

  it('never fails otherwise than with its own error, whatever it is given', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseSelector(text);
        } catch (error) {
          assert.ok(error instanceof KtraceError && error.code === 'KTRACE_E_SELECTOR');
        }
      }),
    );
  });
});
