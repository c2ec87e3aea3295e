#!/usr/bin/env escript
%%! +P 16777216
%% The work of `measure.rs`, in Erlang: a counter is a `gen_server`, and the one that crashes has a supervisor.
-module(actors).
-mode(compile).
%% It is the callback module of `supervisor`, too.
-export([main/1, init/1, handle_call/3, handle_cast/2]).

-define(CALLS, 100000).
-define(CRASHES, 101).

main([Argument]) ->
    %% Crashes are what is measured; a report for each would be, too.
    logger:set_primary_config(level, none),
    Instances = list_to_integer(Argument),
    {ok, Supervisor} = supervisor:start_link(?MODULE, supervisor),
    {ok, First} = gen_server:start(?MODULE, {counter, 1}, []),
    3 = gen_server:call(First, {add, 2}),

    Before = resident_bytes(),
    {SpawnUs, Ones} = timer:tc(fun() -> spawn_all(Instances, []) end),
    BytesIdle = (resident_bytes() - Before) / Instances - 8,

    Which = lists:nth(Instances div 2, Ones),
    {CallsUs, ok} = timer:tc(fun() -> add_ones(Which, ?CALLS) end),

    Crashes = lists:sort([element(1, timer:tc(fun crash_and_add/0)) || _ <- lists:seq(1, ?CRASHES)]),

    {StopUs, ok} = timer:tc(fun() -> stop_all(Ones) end),
    5 = gen_server:call(First, {add, 2}),
    unlink(Supervisor),
    io:format(
        "{\"spawn_per_s\":~.1f,\"bytes_idle\":~.1f,\"call_ns\":~.1f,\"crash_to_answer_us\":~.1f,\"stop_all_ms\":~.1f}~n",
        [Instances * 1.0e6 / SpawnUs, BytesIdle, CallsUs * 1000.0 / ?CALLS,
         float(lists:nth(?CRASHES div 2 + 1, Crashes)), StopUs / 1000.0]).

spawn_all(0, Ones) ->
    Ones;
spawn_all(Count, Ones) ->
    {ok, One} = gen_server:start(?MODULE, {counter, Count}, []),
    spawn_all(Count - 1, [One | Ones]).

add_ones(_, 0) ->
    ok;
add_ones(One, Calls) ->
    Sum = gen_server:call(One, {add, 1}),
    true = is_integer(Sum),
    add_ones(One, Calls - 1).

crash_and_add() ->
    {'EXIT', _} = (catch gen_server:call(victim, crash)),
    7 = add_once_there(7).

%% Its name is free until its supervisor has started the next one.
add_once_there(N) ->
    try
        gen_server:call(victim, {add, N})
    catch
        exit:_ -> erlang:yield(), add_once_there(N)
    end.

stop_all(Ones) ->
    Monitors = [erlang:monitor(process, One) || One <- Ones],
    [exit(One, shutdown) || One <- Ones],
    [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
    ok.

resident_bytes() ->
    {ok, File} = file:open("/proc/self/statm", [read, raw, binary]),
    {ok, Statm} = file:read(File, 256),
    ok = file:close(File),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.

init(supervisor) ->
    Flags = #{strategy => one_for_one, intensity => 1000000, period => 1},
    Start = {gen_server, start_link, [{local, victim}, ?MODULE, {counter, 0}, []]},
    {ok, {Flags, [#{id => victim, start => Start}]}};
init({counter, Count}) ->
    {ok, Count}.

handle_call({add, N}, _, Count) ->
    {reply, Count + N, Count + N};
handle_call(crash, _, _) ->
    error(broken).

handle_cast(_, Count) ->
    {noreply, Count}.
