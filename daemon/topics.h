/* The topics' names, once. Partition counts and settings: deploy/kafka/topics. */
#pragma once

#define TOPIC_EVENTS	 "millrace.events"
#define TOPIC_METADATA	 "millrace.metadata"
#define TOPIC_EXCHANGE	 "millrace.exchange"
#define TOPIC_FLOWS	 "millrace.flows"
#define TOPIC_ROLLUPS	 "millrace.rollups"
#define TOPIC_ALERTS	 "millrace.alerts"
#define TOPIC_DELIVERY	 "millrace.alerts.delivery"
#define TOPIC_BASELINES	 "millrace.baselines"
#define TOPIC_CONTROL	 "millrace.control"
#define TOPIC_RULES	 "millrace.rules"
#define TOPIC_SILENCES	 "millrace.silences"
#define TOPIC_DEADLETTER "millrace.deadletter"
