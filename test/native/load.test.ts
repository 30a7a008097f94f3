import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { remedy, requireFirst } from '../../src/native/load.ts';
import { thrown } from './support.ts';

describe('an addon that cannot be loaded', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ktrace-native-load-'));
  after(() => rmSync(directory, { recursive: true }));

  it('is told with every attempt and what helps', () => {
    const broken = join(directory, 'broken.node');
    writeFileSync(broken, 'no shared object');
    const error = thrown(() => requireFirst([join(directory, 'missing.node'), broken]));
    assert.equal(error.code, 'KTRACE_E_ADDON');
    assert.match(error.message, /missing\.node: Cannot find module/);
    assert.match(error.message, /broken\.node: /);
    if (process.platform === 'linux') assert.match(error.hint ?? '', /npm run setup/);
  });

  it('has a remedy for each cause', () => {
    assert.match(
      remedy('libbpf.so.1: cannot open shared object file: No such file or directory', 'linux'),
      /apt-get install libbpf1/,
    );
    assert.match(
      remedy('was compiled against a different Node.js version using NODE_MODULE_VERSION 115', 'linux'),
      /another Node/,
    );
    assert.match(remedy('Cannot find module', 'linux'), /npm run setup/);
    assert.match(remedy('invalid ELF header', 'linux'), /anew/);
    assert.match(remedy('Cannot find module', 'darwin'), /Linux only/);
  });
});
