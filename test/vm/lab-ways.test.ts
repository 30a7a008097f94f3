import { proveLabFiles } from './lab-files.ts';

/** Ways of packets through a node that need more than one hook to be told. */
proveLabFiles(['kernel/answers', 'kernel/entered', 'kernel/vlan']);
