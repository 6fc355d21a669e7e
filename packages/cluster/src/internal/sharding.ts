/** The cluster of @effect/cluster with our settings, and nothing taken from the environment. */
import type * as MessageStorage from "@effect/cluster/MessageStorage"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as RunnerHealth from "@effect/cluster/RunnerHealth"
import * as Runners from "@effect/cluster/Runners"
import type * as RunnerStorage from "@effect/cluster/RunnerStorage"
import type * as Sharding from "@effect/cluster/Sharding"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as SocketRunner from "@effect/cluster/SocketRunner"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import type * as SocketServer from "@effect/platform/SocketServer"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"

export interface Address {
  readonly host: string
  readonly port: number
}

export interface Settings {
  readonly runner: Address | undefined
  readonly listen: Address | undefined
  /** Milliseconds. */
  readonly expiration: number
  readonly refresh: number
  readonly poll: number
  readonly health: number
  readonly assignments: number
  readonly termination: number
}

const address = (_: Address | undefined) =>
  Option.map(Option.fromNullable(_), ({ host, port }) => RunnerAddress.make(host, port))

export const config = (settings: Settings) =>
  ShardingConfig.layer({
    runnerAddress: address(settings.runner),
    runnerListenAddress: address(settings.listen),
    // the same in every process; shards are given back one by one, so that many take long
    shardsPerGroup: 64,
    // with advisory locks a process that hangs, and does not end, keeps its shards for ever
    shardLockDisableAdvisory: true,
    shardLockExpiration: settings.expiration,
    shardLockRefreshInterval: settings.refresh,
    entityMessagePollInterval: settings.poll,
    runnerHealthCheckInterval: settings.health,
    refreshAssignmentsInterval: settings.assignments,
    entityTerminationTimeout: settings.termination
  })

type Storage = MessageStorage.MessageStorage | RunnerStorage.RunnerStorage | ShardingConfig.ShardingConfig

/** A process that runs workflows. */
export const runner: Layer.Layer<Sharding.Sharding, SocketServer.SocketServerError, Storage> = SocketRunner.layer.pipe(
  Layer.provide([NodeClusterSocket.layerSocketServer, NodeClusterSocket.layerClientProtocol]),
  Layer.provide(
    RunnerHealth.layerPing.pipe(Layer.provide(Runners.layerRpc), Layer.provide(NodeClusterSocket.layerClientProtocol))
  ),
  Layer.provide(RpcSerialization.layerMsgPack)
)

/** A process that asks for runs and runs none. */
export const client: Layer.Layer<Sharding.Sharding, never, Storage> = SocketRunner.layerClientOnly.pipe(
  Layer.provide(NodeClusterSocket.layerClientProtocol),
  Layer.provide(RpcSerialization.layerMsgPack)
)
