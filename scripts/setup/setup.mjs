import { buildAddon } from './addon.mjs';
import { buildBpf } from './bpf.mjs';
import { compile } from './compile.mjs';
import { installBrowser, installDebianPackages } from './debian.mjs';
import { withLock } from './lock.mjs';
import { installNodePackages } from './node-packages.mjs';

/**
 * Brings a checkout up to date: Debian packages, Node 24 and the npm packages, BPF objects, the addon, compiled JavaScript.
 * Each part looks first whether there is anything to do, so that a second run takes a fraction of a second. Several runs at
 * once wait for each other.
 * @param {string} root the checkout
 * @param {{ isForTests: boolean }} task
 */
export async function setUp(root, { isForTests }) {
  await withLock(root, async () => {
    await installDebianPackages();
    if (isForTests) await installBrowser();
    await installNodePackages(root);
    await buildBpf(root);
    await buildAddon(root);
    await compile(root);
  });
}
