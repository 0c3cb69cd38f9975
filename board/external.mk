include $(sort $(wildcard $(BR2_EXTERNAL_ZEROFORCE_PATH)/package/*/*.mk))
