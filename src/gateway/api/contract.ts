import { DEVICE_ROUTES } from './contract/devices.ts';
import { GATEWAY_ROUTES } from './contract/gateway.ts';
import type { Route } from './contract/route.ts';
import { TUNNEL_ROUTES } from './contract/tunnel.ts';

/** Every call of the API. */
export const ROUTES = { ...GATEWAY_ROUTES, ...DEVICE_ROUTES, ...TUNNEL_ROUTES };
export type RouteId = keyof typeof ROUTES;

export const routes: readonly (Route & { readonly id: RouteId })[] = Object.entries(ROUTES).map(([id, route]) => ({
  id: id as RouteId,
  ...route,
}));
