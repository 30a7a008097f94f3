import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inLoadOrder } from './initramfs.ts';

const DEP =
  'kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\nkernel/net/9p/9pnet.ko:\nkernel/fs/netfs/netfs.ko:\n';

it('loads what a module needs before it, the last of modules.dep first, and everything once', () => {
  assert.deepEqual(inLoadOrder(DEP, ['9pnet', '9p']), [
    'kernel/net/9p/9pnet.ko',
    'kernel/fs/netfs/netfs.ko',
    'kernel/fs/9p/9p.ko',
  ]);
});

it('says which module the kernel package lacks', () => {
  assert.throws(() => inLoadOrder(DEP, ['virtio_pci']), /no module virtio_pci/);
});
