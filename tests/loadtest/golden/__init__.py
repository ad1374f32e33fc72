"""Golden tests: real load tests of servers with known times, and the result that each test must have.

The table lists the known mistakes in measurements of latency, each with the tests that would find it. A test without a
path is in this folder. A name in parentheses is a feature that does not exist yet.

    1  coordinated omission: test_an_open_run_measures_the_whole_stall_of_a_server_and_a_closed_run_does_not
    2  a closed workload that is called open: test_a_slow_server_changes_nothing_in_the_plan
    3  time in the generator's own queue: test_a_blocked_event_loop_delays_the_sending_and_not_the_service
    4  timers of whole milliseconds: test_a_planned_task_is_sent_at_its_instant
    5  a burst that makes up for a pause: test_a_stopped_generator_sends_late_and_the_verdict_says_so,
       test_instants_that_come_too_late_are_dropped
    6  planned tasks that are not counted: runs.py checks that the account of each run adds up;
       tests/loadtest/test_incomplete.py::test_a_worker_that_is_lost_makes_the_run_incomplete
    7  averaged percentiles: test_percentiles_of_three_workers_are_those_of_all_their_samples
    8  one slow worker that makes the tail: test_a_blocked_event_loop_delays_the_sending_and_not_the_service
    9  other arrivals than planned: test_arrivals_at_the_server_are_those_of_the_plan
   10  workers that send at the same instants: test_two_even_workers_are_as_even_as_one
   11  failures among the response times: test_half_of_the_requests_failing_leaves_the_good_times_unchanged
   12  a server that sheds load looks fast: test_two_timeouts_in_a_hundred_are_the_offered_p99
   13  too few samples: test_the_p99_needs_368_samples
   14  intervals for independent samples, computed from samples that depend on each other:
       tests/results/test_intervals.py::test_intervals_hold_the_true_percentiles_in_93_percent_of_a_thousand_runs
   15  percentiles of a growing queue: test_a_rate_above_the_capacity_is_unsteady
   16  an interval within a run, taken for an interval between runs: (compare)
   17  warm-up, and operations under way at the end: test_a_slow_beginning_is_in_the_warm_up_alone,
       test_a_rate_above_the_capacity_is_unsteady
   18  coarse buckets: tests/test_histogram.py::test_a_hundred_thousand_times_are_each_within_one_percent
   19  percentiles that are one rank off: tests/test_histogram.py::test_percentiles_agree_with_numpy
   20  a clock that is stepped: tests/net/test_stamps.py::test_a_step_is_noticed_once_and_later_stamps_are_right_again
   21  half of the round trip: test_the_first_byte_and_the_whole_reply_are_apart
   22  the stamp of the wrong segment: test_the_first_byte_and_the_whole_reply_are_apart
   23  Nagle's algorithm and delayed ACKs: test_no_request_waits_for_an_acknowledgement
   24  too few ports and descriptors at the generator: (doctor)
   25  statistics that delay the measured operations:
       tests/loadtest/test_verdicts.py::test_an_idle_generator_is_trusted
   26  a verdict that is always the same: tests/loadtest/test_verdicts.py::test_an_overloaded_generator_is_flagged,
       tests/loadtest/test_verdicts.py::test_an_idle_generator_is_trusted
   27  times that are corrected twice:
       test_an_open_run_measures_the_whole_stall_of_a_server_and_a_closed_run_does_not
   28  generator and server on one core: (doctor)
"""
