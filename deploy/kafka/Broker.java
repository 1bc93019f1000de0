import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.Uuid;

/**
 * A Kafka broker in one process: format the log folder when it is new, start, create the topics that are missing,
 * then write the ready file. Three command-line tools would do the same with three starts of the JVM, each seconds long.
 *
 * <p>Usage: Broker SERVER_PROPERTIES TOPICS READY_FILE [arguments for StorageTool format]
 *
 * <p>-Dmillrace.lifeline=true: the broker lives as long as its standard input stays open, so it ends with the process
 * that holds the other end, however that one dies. -Dmillrace.scratch=DIR: that end also deletes DIR.
 * -Dmillrace.cluster=ID: of all brokers that are to be one cluster; topics have default.replication.factor copies.
 */
public final class Broker {
	private static final long READY_WITHIN_MS = 120_000; /* a loaded 2-core machine needs 5 to 30 s */
	private static final long RETRY_MS = 100;

	public static void main(String[] args) throws Exception {
		Path properties = Path.of(args[0]);
		Path topics = Path.of(args[1]);
		Path ready = Path.of(args[2]);

		if (Boolean.getBoolean("millrace.lifeline"))
			daemon("lifeline", Broker::endWithInput);
		format(properties, Arrays.copyOfRange(args, 3, args.length));
		daemon("topics", () -> becomeReady(properties, topics, ready));
		kafka.Kafka.main(new String[] {properties.toString()});
	}

	private static void daemon(String name, Runnable body) {
		Thread thread = new Thread(body, name);
		thread.setDaemon(true);
		thread.start();
	}

	private static void endWithInput() {
		try {
			while (System.in.read() >= 0) {
				continue;
			}
		} catch (IOException gone) {
			/* the same as the end of input */
		}
		String scratch = System.getProperty("millrace.scratch");
		if (scratch != null)
			deleteAfterEnd(scratch);
		Runtime.getRuntime().halt(0);
	}

	/* By another process: a broker that still runs adds files behind a walk, and one whose folder goes ends itself. */
	private static void deleteAfterEnd(String folder) {
		String script = "while kill -0 \"$1\" 2>/dev/null; do sleep 0.05; done; rm -rf -- \"$2\"";
		String self = Long.toString(ProcessHandle.current().pid());
		try {
			new ProcessBuilder("setsid", "sh", "-c", script, "sh", self, folder)
					.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
		} catch (IOException refused) {
			System.err.println("kafka: " + folder + " stays: " + refused.getMessage());
		}
	}

	private static void format(Path properties, String[] extra) {
		List<String> words = new ArrayList<>(List.of("format", "--ignore-formatted", "-t",
				System.getProperty("millrace.cluster", Uuid.randomUuid().toString()), "-c", properties.toString()));
		Path formatted = Path.of(load(properties).getProperty("log.dirs"), "meta.properties");
		if (Files.exists(formatted))
			return;
		words.addAll(List.of(extra));
		if (kafka.tools.StorageTool.execute(words.toArray(new String[0]), new PrintStream(System.err)) != 0)
			fail("cannot format the log folder of " + properties, null);
	}

	private static void becomeReady(Path properties, Path topics, Path ready) {
		long deadline = System.currentTimeMillis() + READY_WITHIN_MS;
		Map<String, Object> client = Map.of("bootstrap.servers", address(properties),
				"reconnect.backoff.ms", 50, "reconnect.backoff.max.ms", 200);
		try (Admin admin = Admin.create(client)) {
			for (;;) {
				try {
					createMissing(admin, topics);
					break;
				} catch (Exception early) {
					/* until the broker has joined its own controller, creation is refused */
					if (System.currentTimeMillis() > deadline)
						fail("topics were not created in time", early);
					Thread.sleep(RETRY_MS);
				}
			}
			Files.writeString(ready, address(properties) + "\n");
		} catch (Exception failure) {
			fail("cannot become ready", failure);
		}
	}

	private static void createMissing(Admin admin, Path topics) throws Exception {
		Set<String> present = admin.listTopics().names().get();
		List<NewTopic> missing = new ArrayList<>();
		for (String line : Files.readAllLines(topics)) {
			if (line.isBlank() || line.startsWith("#"))
				continue;
			String[] words = line.trim().split("\\s+");
			Map<String, String> settings = new HashMap<>();
			for (int i = 2; i < words.length; i++) {
				String[] pair = words[i].split("=", 2);
				settings.put(pair[0], pair[1]);
			}
			if (!present.contains(words[0]))
				missing.add(new NewTopic(words[0], Optional.of(Integer.parseInt(words[1])), Optional.empty()).configs(settings));
		}
		admin.createTopics(missing).all().get();
	}

	/* The plain listener stands first in "listeners". */
	private static String address(Path properties) {
		return load(properties).getProperty("listeners").split(",")[0].replaceFirst("^.*://", "");
	}

	private static Properties load(Path file) {
		Properties properties = new Properties();
		try (var input = Files.newInputStream(file)) {
			properties.load(input);
		} catch (IOException failure) {
			fail("cannot read " + file, failure);
		}
		return properties;
	}

	private static void fail(String what, Exception cause) {
		System.err.println("broker: " + what + (cause == null ? "" : ": " + cause));
		Runtime.getRuntime().halt(1);
	}
}
