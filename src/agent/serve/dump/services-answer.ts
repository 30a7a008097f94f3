import type { RecordedService } from '../../../event/service.ts';
import type { Access } from '../../access/authorizer.ts';
import type { Damage } from '../../record/record-places.ts';
import type { Recorder } from '../../record/recorder.ts';
import type { DumpSelection } from './dump-selection.ts';

/** States and endpoints of one message: some 150 bytes each. */
const MOST_TOLD = 50_000;

export interface ServicesQuestion {
  selection: DumpSelection;
  /** The targets' pods that this node knew, by uid. */
  isTargetsPod(uid: string): boolean;
  access: Access;
  sinceMs: number;
  untilMs: number;
}

/** The Services of a dump's targets as they were between two times, as far as this access goes. */
export async function answerServices(
  recorder: Recorder,
  { selection, isTargetsPod, access, sinceMs, untilMs }: ServicesQuestion,
  onDamage: (damage: Damage) => void,
): Promise<{ services: RecordedService[]; servicesCut: number }> {
  const { allowed } = access;
  const all = await recorder.recordedServices.read(onDamage);
  const found = allowed === 'all' ? all : all.filter(({ namespace }) => allowed.has(namespace));
  const wasThen = ({ fromMs, toMs }: { fromMs: number; toMs?: number }): boolean =>
    fromMs <= untilMs && (toMs === undefined || toMs >= sinceMs);
  const services: RecordedService[] = [];
  let told = 0;
  let servicesCut = 0;
  for (const { namespace, name, ...was } of found) {
    const service = { namespace, name, states: was.states.filter(wasThen), endpoints: was.endpoints.filter(wasThen) };
    const size = service.states.length + service.endpoints.length;
    if (size === 0 || !selection.isService(service, isTargetsPod)) continue;
    told += size;
    if (told > MOST_TOLD) servicesCut += 1;
    else services.push({ ...service, endpoints: service.endpoints.map((one) => seenBy(one, access)) });
  }
  return { services, servicesCut };
}

/** Whoever may write an EndpointSlice may name any pod in it: of a pod in another namespace only the address is sent. */
function seenBy<E extends RecordedService['endpoints'][number]>(endpoint: E, { allowed }: Access): E {
  const { pod } = endpoint;
  if (allowed === 'all' || pod === undefined || allowed.has(pod.namespace)) return endpoint;
  const { pod: _, node: __, ...rest } = endpoint;
  return rest as E;
}
