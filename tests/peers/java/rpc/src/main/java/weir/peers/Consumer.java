package weir.peers;

import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.config.RegistryConfig;

/**
 * A SOFARPC consumer of {@link Hello}, one call at a time. Arguments: registry=HOST:PORT or direct=HOST:PORT, and if
 * wanted unique=, version=, period= and timeout= (both in milliseconds), connections=, slow= (milliseconds that each
 * call takes). For standard input see {@link Calls}.
 */
public final class Consumer {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        ConsumerConfig<Hello> config = new ConsumerConfig<Hello>()
            .setApplication(new ApplicationConfig().setAppName("weir-consumer"))
            .setInterfaceId(Hello.class.getName())
            .setUniqueId(options.get("unique", ""))
            .setVersion(options.get("version", "1.0"))
            .setProtocol("bolt")
            .setTimeout(options.number("timeout", 3000))
            .setConnectionNum(options.number("connections", 1))
            .setRetries(0);
        if (options.get("direct") != null) {
            config.setDirectUrl("bolt://" + options.get("direct"));
        } else {
            config.setRegistry(new RegistryConfig().setProtocol("sofa").setAddress(options.need("registry")));
            // For the first list of addresses.
            config.setAddressWait(10_000);
        }
        Hello hello = config.refer();
        int slow = options.number("slow", 0);
        new Calls().run(() -> hello.who(slow), options, 100);
        System.exit(0);
    }
}
