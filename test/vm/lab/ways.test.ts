import { proveLabFiles } from './files.ts';

/** Ways of packets through a node that need more than one hook to be told. */
proveLabFiles(['kernel/facts/answers', 'kernel/packets/vlan']);
