import { createContext, createElement, type FunctionComponent, type ReactNode, useContext, useSyncExternalStore } from 'react';
import type { Client } from '../types.js';
import type { Events } from './register.js';

const Context = createContext<Client<any> | undefined>(undefined);

export interface BrokerProviderProps {
  /** Made with `createClient`, outside of the component or in a state: the provider neither makes nor closes it. */
  client: Client<any>;
  /** Shown in the place of the children while nobody is signed in. */
  signedOut?: ReactNode;
  children?: ReactNode;
}

/** Gives a client to all hooks below it. */
export const BrokerProvider: FunctionComponent<BrokerProviderProps> = ({ client, signedOut, children }) => {
  const { session, initialEvents } = client;
  const status = useSyncExternalStore(session.subscribe, () => session.get().status, () => 'unknown');
  const isOut = signedOut !== undefined && status !== 'signed-in';
  // As long as it is not known, only what a server has rendered is there to be shown.
  const shown = !isOut || (status === 'unknown' && initialEvents.length > 0) ? children : status === 'unknown' ? null : signedOut;
  return createElement(Context.Provider, { value: client }, shown);
};

/** The client of the nearest `BrokerProvider`, to sign in and out, for instance. */
export function useClient(): Client<Events> {
  const client = useContext(Context);
  if (!client) throw new Error('broker-client/react: there is no <BrokerProvider> around this component');
  return client;
}
