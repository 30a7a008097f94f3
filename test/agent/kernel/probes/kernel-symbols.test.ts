import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { KernelSymbols } from '../../../../src/agent/kernel/probes/kernel-symbols.ts';

const OWN = 'ffffffff81000100 T own\n';
const X_TABLES = 'ffffffffc0000000 t cleanup_module\t[x_tables]\n';
const NF_TABLES = 'ffffffffc0100000 t nft_do_chain\t[nf_tables]\n';

function kernel(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-symbols-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const files = { kallsyms: join(folder, 'kallsyms'), modules: join(folder, 'modules') };
  const has = (kallsyms: string, modules: string) => {
    writeFileSync(files.kallsyms, kallsyms);
    writeFileSync(files.modules, modules);
  };
  return { files, has };
}

test('a function of a module that is loaded later has its name, not that of the last one before it', (t) => {
  const { files, has } = kernel(t);
  has(OWN + X_TABLES, 'x_tables 45056 1 - Live 0xffffffffc0000000\n');
  const symbols = new KernelSymbols(files);
  assert.equal(symbols.at(0xffffffff81000108n), 'own');
  has(OWN + X_TABLES + NF_TABLES, 'nf_tables 1 0 - Live 0xffffffffc0100000\nx_tables 45056 1 - Live 0xffffffffc0000000\n');
  assert.equal(symbols.at(0xffffffffc0100008n), 'nft_do_chain');
  assert.equal(symbols.at(0xffffffff81000108n), 'own');
});

test('a module that came back elsewhere is found there', (t) => {
  const { files, has } = kernel(t);
  has(OWN + NF_TABLES, 'nf_tables 1 0 - Live 0xffffffffc0100000\n');
  const symbols = new KernelSymbols(files);
  assert.equal(symbols.at(0xffffffffc0100008n), 'nft_do_chain');
  has(`${OWN}ffffffffc0200000 t nft_do_chain\t[nf_tables]\n`, 'nf_tables 1 0 - Live 0xffffffffc0200000\n');
  assert.equal(symbols.at(0xffffffffc0200008n), 'nft_do_chain');
  assert.equal(symbols.at(0xffffffffc0100008n), 'own', 'what was told of the old place is forgotten');
});

test('symbols are not read again for a module that is used more', (t) => {
  const { files, has } = kernel(t);
  has(OWN, 'x_tables 45056 1 - Live 0xffffffffc0000000\n');
  const symbols = new KernelSymbols(files);
  has(OWN + NF_TABLES, 'x_tables 45056 7 nft_compat,ip_tables, Live 0xffffffffc0000000\n');
  assert.equal(symbols.at(0xffffffffc0100008n), 'own');
});

test('without both files no address is given away', () => {
  const symbols = new KernelSymbols({ kallsyms: '/nonexistent/kallsyms', modules: '/nonexistent/modules' });
  assert.deepEqual([symbols.areKnown, symbols.at(0xffn)], [false, 'unknown']);
});
