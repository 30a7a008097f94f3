import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inLoadOrder } from './initramfs.ts';

const DEP =
  'kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\nkernel/net/9p/9pnet.ko:\nkernel/fs/netfs/netfs.ko:\n';

it('loads what a module needs before it, the last of modules.dep first, and everything once', () => {
  assert.deepEqual(inLoadOrder(DEP, ['9pnet', '9p'], ''), [
    'kernel/net/9p/9pnet.ko',
    'kernel/fs/netfs/netfs.ko',
    'kernel/fs/9p/9p.ko',
  ]);
});

it('leaves out what is part of the kernel itself, and finds modules that are compressed', () => {
  assert.deepEqual(
    inLoadOrder('kernel/net/9p/9pnet.ko.xz:\n', ['virtio_pci', '9pnet'], 'kernel/drivers/virtio/virtio_pci.ko\n'),
    ['kernel/net/9p/9pnet.ko.xz'],
  );
});

it('says which module the kernel package lacks', () => {
  assert.throws(() => inLoadOrder(DEP, ['virtio_pci'], 'kernel/fs/ext4/ext4.ko\n'), /no module virtio_pci/);
});
