import type { NoticeEvent } from '../../../event/types.ts';
import { listText } from '../../../util/many-text.ts';

/** What a notice says, with the interfaces that who may see all pods is told beside it. Not escaped. */
export function noticeWords({ text, interfaces = [] }: Pick<NoticeEvent, 'text' | 'interfaces'>): string {
  return interfaces.length === 0 ? text : `${text} (${listText(interfaces)})`;
}
